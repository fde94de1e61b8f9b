"""How a token's place in the sequence reaches the model."""
