"""Element-wise activations φ."""
