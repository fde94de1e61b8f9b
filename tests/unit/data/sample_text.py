"""Synthetic documents for the tests of `gatewright.data`."""

from __future__ import annotations

import random

WORDS = [
    *["the", "gate", "lets", "half", "of", "what", "we", "said", "pass", "it's", "1790", "again", "and", "alike;"],
    *["–", "naïve,", "漢字", "🙂"],
]


def make_document(seed: int, words: int = 120) -> str:
    """Text that is different for every seed: words, double spaces, newlines, characters of one to four bytes."""
    rng = random.Random(seed)
    return "".join(rng.choice(WORDS) + rng.choice([" ", " ", " ", "  ", "\n", "\n\n"]) for _ in range(words))
