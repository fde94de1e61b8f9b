"""The Bhattacharyya coefficient."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.part import Cost, Dims
from gatewright.paths.similarities.base import Similarity
from gatewright.registry import register


@register("similarity", "bhattacharyya")
class Bhattacharyya(Similarity):
    """Bhattacharyya coefficient: ``S_ij = Σ √(p_i p_j)``, 1 less the squared Hellinger distance (Bhattacharyya, 1943).

    With ``H² = 1 − S``: ``H² ≤ JSD ≤ H² / ln 2`` in bits, so it ranks peers almost as `jsd` does, for one product.
    """

    def __init__(self, dims: Dims, *, temperature: float = 0.1) -> None:
        super().__init__(dims, temperature=temperature)
        self.dims = dims

    def scores(self, signal: Tensor) -> Tensor:
        root = (0.5 * signal).exp()
        return (root @ root.mT).clamp(max=1.0)

    def reference(self, log_probs: Tensor, *, table: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """The same, pair by pair."""
        p = self.signal(log_probs).exp()
        return (p[..., :, None, :] * p[..., None, :, :]).sqrt().sum(-1).clamp(max=1.0)

    def cost(self, tokens: int) -> Cost:
        return Cost(flops=2 * tokens * tokens * self.dims.vocab_size)
