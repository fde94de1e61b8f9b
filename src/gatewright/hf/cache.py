"""transformers' cache of keys and values, where our model expects its own."""

from __future__ import annotations

from torch import Tensor
from transformers import Cache

from gatewright.parts.attention.cache import KVCache, LayerCache


class BorrowedLayer(LayerCache):
    """One layer of a transformers cache."""

    def __init__(self, cache: Cache, layer: int) -> None:
        self.cache, self.layer = cache, layer

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Add the newest tokens and return all so far."""
        return self.cache.update(keys, values, self.layer)


class BorrowedCache(KVCache):
    """A transformers cache. Reordering for beams, cropping and offloading stay transformers' business."""

    def __init__(self, cache: Cache, n_layer: int) -> None:
        if cache.is_compileable:
            raise ValueError(
                "a Gatewright model generates with a cache that grows; leave out cache_implementation, or set 'dynamic'"
            )
        self.cache = cache
        self.layers = [BorrowedLayer(cache, layer) for layer in range(n_layer)]

    @property
    def length(self) -> int:
        """Tokens held."""
        return int(self.cache.get_seq_length())
