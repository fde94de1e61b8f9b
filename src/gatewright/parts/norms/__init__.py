"""Normalisations of the last dimension."""
