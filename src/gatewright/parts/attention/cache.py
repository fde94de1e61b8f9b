"""Keys and values of past tokens, kept for generation."""

from __future__ import annotations

import torch
from torch import Tensor


class LayerCache:
    """One layer's keys and values, ``(B, kv_heads, S, head_dim)`` each, in memory that is allocated once."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the T newest tokens and return all so far. Raises `ValueError` beyond the capacity."""
        batch, heads, tokens, width = keys.shape
        end = self.length + tokens
        if end > self.capacity:
            raise ValueError(f"the cache holds {self.capacity} tokens, {end} are needed")
        if self._keys is None or self._values is None:
            self._keys = torch.empty(batch, heads, self.capacity, width, dtype=keys.dtype, device=keys.device)
            self._values = torch.empty_like(self._keys)
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def keep_rows(self, rows: Tensor) -> None:
        """Keep only these sequences of the batch, in this order."""
        if self._keys is not None and self._values is not None:
            self._keys, self._values = self._keys[rows], self._values[rows]


class KVCache:
    """The caches of all layers. Pass the same object to each forward pass of one generation."""

    def __init__(self, n_layer: int, capacity: int) -> None:
        self.layers = [LayerCache(capacity) for _ in range(n_layer)]

    @property
    def length(self) -> int:
        """Tokens held."""
        return self.layers[0].length

    def keep_rows(self, rows: Tensor) -> None:
        """Drop finished sequences: keep only ``rows`` of the batch."""
        for layer in self.layers:
            layer.keep_rows(rows)
