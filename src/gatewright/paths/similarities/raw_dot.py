"""The inner product."""

from __future__ import annotations

from torch import Tensor

from gatewright.paths.similarities.vectors import VectorSimilarity
from gatewright.registry import register


@register("similarity", "raw_dot")
class RawDot(VectorSimilarity):
    """Raw dot product: ``S_ij = x_i·x_j``; on the vocabulary, the chance that both paths draw the same token.

    Not normalised, so a confident peer is heard more than one that agrees as well but is unsure.
    """

    @property
    def bounds(self) -> tuple[float, float] | None:  # type: ignore[override]
        return (0.0, 1.0) if self.space == "vocabulary" else None

    def scores(self, signal: Tensor) -> Tensor:
        return signal @ signal.mT
