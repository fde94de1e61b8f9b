"""Hugging Face: weights in and out of the families that a preset can be."""
