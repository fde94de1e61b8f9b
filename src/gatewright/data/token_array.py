"""The tokens of one split, on disk and in memory only where they are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.shards import Shard, shard_files, shard_name

OPEN_SHARDS = 128
"""Shards that are mapped at the same time: each keeps a file open, and systems allow about a thousand."""


class TokenArray:
    """A read-only sequence of token ids: documents one after another, each followed by the separator.

    Behaves like a 1-D array over all shards: ``len``, indexing and slicing, ``numpy.asarray``; what lies within one
    shard is a view of its memory-mapped file. It pickles as the paths of its files, so that worker processes share the
    pages.
    """

    def __init__(self, folder: Path, split: str, shards: Sequence[Shard], dtype: str, label: str) -> None:
        self._opened_with = (folder, split, tuple(shards), dtype, label)
        self.label = label
        """How messages name it, such as ``data.source=sotu, train``."""
        self.split = split
        self.folder = folder
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        """The type of the stored ids, uint16 or uint32."""
        self._begins = np.cumsum([0, *(shard.tokens for shard in shards)])
        self._documents = np.cumsum([0, *(shard.documents for shard in shards)])
        self._mapped = lru_cache(OPEN_SHARDS)(self._map)

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenArray, self._opened_with

    def __len__(self) -> int:
        return int(self._begins[-1])

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            place = range(len(self))[index]
            return self._between(place, place + 1)[0]
        places = range(len(self))[index]
        if not places:
            return np.empty(0, dtype=self.dtype)
        first, last = sorted((places[0], places[-1]))
        found = self._between(first, last + 1)
        return found[:: places.step] if places.step != 1 else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self[:], dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"TokenArray({self.label}: {len(self):,} tokens, {self.documents:,} documents, {self.dtype})"

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return int(self._documents[-1])

    def document(self, index: int) -> NDArray[Any]:
        """The tokens of one document, without the separator."""
        if not 0 <= index < self.documents:
            raise IndexError(f"document {index} of {self.documents}")
        shard = int(np.searchsorted(self._documents, index, side="right")) - 1
        tokens, offsets = self._mapped(shard)
        within = index - int(self._documents[shard])
        return tokens[offsets[within] : offsets[within + 1] - 1]

    def windows(self, begins: NDArray[np.int64], length: int) -> NDArray[np.int64]:
        """``length`` tokens from each of ``begins`` on, ``(len(begins), length)``; after the last comes the first."""
        rows = np.empty((len(begins), length), dtype=np.int64)
        for row, begin in zip(rows, begins.tolist(), strict=True):
            filled = 0
            while filled < length:
                begin %= len(self)
                part = self._between(begin, min(begin + length - filled, len(self)))
                row[filled : filled + len(part)] = part
                filled, begin = filled + len(part), begin + len(part)
        return rows

    def _between(self, first: int, last: int) -> NDArray[Any]:
        """Tokens ``first`` to ``last - 1``: a view where they lie in one shard, else a copy."""
        shard = int(np.searchsorted(self._begins, first, side="right")) - 1
        parts = []
        while first < last:
            begin, end = int(self._begins[shard]), min(int(self._begins[shard + 1]), last)
            parts.append(self._mapped(shard)[0][first - begin : end - begin])
            first, shard = end, shard + 1
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _map(self, shard: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        tokens, offsets = shard_files(self.folder, shard_name(self.split, shard))
        # Plain views: indexing np.memmap itself costs several times as much.
        return (
            np.memmap(tokens, dtype=self.dtype, mode="r").view(np.ndarray),
            np.memmap(offsets, dtype="<i8", mode="r").view(np.ndarray),
        )
