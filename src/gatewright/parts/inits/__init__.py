"""Initialisations of random weights."""
