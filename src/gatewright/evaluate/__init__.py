"""How good a model is: loss, perplexities and accuracy on fixed text."""
