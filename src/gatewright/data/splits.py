"""Which documents are held out for validation."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
"""`split_key` of each document, ``(documents,)``."""

BUCKET_BITS = 16
"""Keys are counted by so many leading bits before any of them are sorted."""


def split_key(text: bytes, seed: int) -> int:
    """Where a document stands in the draw of ``seed``: 64 bits of BLAKE2b over its text, keyed by the seed.

    The key hangs on nothing but text and seed, so a document keeps its place when others come or go, and two copies of
    one text never end on different sides.
    """
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, key=str(seed).encode()).digest(), "little")


def last_held_out(keys: Callable[[], Iterable[Keys]], fraction: float) -> int:
    """The largest key that is held out; documents with this or a smaller one are for validation.

    They are as near to ``fraction`` of all documents as possible, at least one, never all. Drawing by rank and not by a
    threshold on the key keeps the share also in a corpus of a few documents. ``keys()`` gives the keys in blocks, and
    is called twice: first keys are counted by their leading bits, then only those that share them with the one looked
    for are sorted, so that memory does not grow with the documents. Raises `ValueError` if all are alike.
    """
    shift = np.uint64(64 - BUCKET_BITS)
    buckets = np.zeros(2**BUCKET_BITS, dtype=np.int64)
    for block in keys():
        buckets += np.bincount((block >> shift).astype(np.int64), minlength=len(buckets))
    until = np.cumsum(buckets)
    wanted = fraction * int(until[-1])
    bucket = int(np.searchsorted(until, max(wanted, 1)))
    before = int(until[bucket - 1]) if bucket else 0
    counts: Counter[int] = Counter()
    for block in keys():
        ranked, copies = np.unique(block[block >> shift == bucket], return_counts=True)
        counts.update(dict(zip(ranked.tolist(), copies.tolist(), strict=True)))
    ends = [(before, (bucket << int(shift)) - 1)] if before else []  # all of the buckets before
    for key in sorted(counts):
        before += counts[key]
        ends.append((before, key))
    allowed = [(abs(taken - wanted), key) for taken, key in ends if taken < int(until[-1])]
    if not allowed:
        raise ValueError("documents can only be divided where at least two differ")
    return min(allowed)[1]


def cut_position(characters: int, fraction: float) -> int:
    """Where the validation part of a single document begins: its last ``fraction``, at least one character.

    Raises `ValueError` for a document of fewer than two characters.
    """
    if characters < 2:
        raise ValueError("a document needs two characters to be cut in two")
    return min(max(characters - round(fraction * characters), 1), characters - 1)
