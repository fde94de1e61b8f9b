"""Trained models of Hugging Face as the subjects of our runs: opened, given gates, trained, written and read again."""

from __future__ import annotations
