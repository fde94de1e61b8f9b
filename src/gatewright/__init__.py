"""Gatewright: train competing designs of gated language models under equal conditions, and say which is better."""
