"""Texts in batches of about the same size: what bounds the memory of encoding, besides the largest text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

BATCH_CHARACTERS = 2**21


def in_batches(texts: Iterable[str], characters: int = BATCH_CHARACTERS) -> Iterator[list[str]]:
    """Consecutive ``texts``, each batch closed when it holds at least so many characters."""
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
