"""Which documents are held out for validation."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def split_key(text: bytes, seed: int) -> int:
    """Where a document stands in the draw of ``seed``: 64 bits of BLAKE2b over its text, keyed by the seed.

    The key hangs on nothing but text and seed, so a document keeps its place when others come or go, and two copies of
    one text never end on different sides.
    """
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=str(seed).encode()).digest(), "little")


def held_out(keys: NDArray[np.uint64], fraction: float) -> NDArray[np.bool_]:
    """The documents with the smallest keys: as near to ``fraction`` of them as possible, at least one, never all.

    ``keys`` (documents,) holds `split_key` of each; the result marks those for validation. Drawing by rank and not by a
    threshold on the key keeps the share also in a corpus of a few documents. Raises `ValueError` if all are alike.
    """
    ranked, copies = np.unique(keys, return_counts=True)
    if len(ranked) < 2:
        raise ValueError("documents can only be divided where at least two differ")
    taken = np.cumsum(copies)[:-1]
    nearest = int(np.argmin(np.abs(taken - fraction * len(keys))))
    chosen: NDArray[np.bool_] = keys <= ranked[nearest]
    return chosen


def cut_position(characters: int, fraction: float) -> int:
    """Where the validation part of a single document begins: its last ``fraction``, at least one character.

    Raises `ValueError` for a document of fewer than two characters.
    """
    if characters < 2:
        raise ValueError("a document needs two characters to be cut in two")
    return min(max(characters - round(fraction * characters), 1), characters - 1)
