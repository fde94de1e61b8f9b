"""The tokens of one split, on disk and in memory only where they are looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TokenArray:
    """A memory-mapped, read-only sequence of token ids: documents one after another, each followed by the separator.

    Behaves like a 1-D array: ``len``, indexing and slicing, ``numpy.asarray``. It pickles as the path of its file, so
    that worker processes share the pages.
    """

    def __init__(self, folder: Path, split: str, dtype: str, label: str) -> None:
        self._opened_with = (folder, split, dtype, label)
        self.label = label
        """How messages name it, such as ``data.source=sotu, train``."""
        self.split = split
        self.path = folder / f"{split}.bin"
        # A plain view: indexing np.memmap itself costs several times as much.
        self.tokens: NDArray[Any] = np.memmap(self.path, dtype=dtype, mode="r").view(np.ndarray)
        """``(N,)``, uint16 or uint32."""
        self.offsets: NDArray[np.int64] = np.load(folder / f"{split}.offsets.npy", mmap_mode="r").view(np.ndarray)
        """``(documents + 1,)``: document i with its separator is ``tokens[offsets[i] : offsets[i + 1]]``."""

    def __reduce__(self) -> tuple[Any, ...]:
        return TokenArray, self._opened_with

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Any) -> Any:
        return self.tokens[index]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.tokens, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        return f"TokenArray({self.label}: {len(self):,} tokens, {self.documents:,} documents, {self.dtype})"

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the stored ids."""
        return self.tokens.dtype

    @property
    def documents(self) -> int:
        """How many documents there are."""
        return len(self.offsets) - 1

    def document(self, index: int) -> NDArray[Any]:
        """The tokens of one document, without the separator."""
        if not 0 <= index < self.documents:
            raise IndexError(f"document {index} of {self.documents}")
        return self.tokens[self.offsets[index] : self.offsets[index + 1] - 1]
