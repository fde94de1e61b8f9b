"""The cosine of the angle."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.paths.similarities.vectors import VectorSimilarity
from gatewright.registry import register


@register("similarity", "cosine", "baseline")
class CosineSimilarity(VectorSimilarity):
    """Cosine: ``S_ij = x_i·x_j / (‖x_i‖ ‖x_j‖)``, M3PO's own measure (arXiv:2512.01485).

    Norms are read off the diagonal of the Gram matrix, which is half the work of normalising first. In [0, 1] on the
    vocabulary, in [−1, 1] on embeddings.
    """

    @property
    def bounds(self) -> tuple[float, float]:  # type: ignore[override]
        return (0.0, 1.0) if self.space == "vocabulary" else (-1.0, 1.0)

    def scores(self, signal: Tensor) -> Tensor:
        gram = signal @ signal.mT
        square = gram.diagonal(dim1=-2, dim2=-1).clamp(min=torch.finfo(gram.dtype).tiny)
        inverse = square.rsqrt()
        return gram * inverse[..., :, None] * inverse[..., None, :]

    def reference(self, log_probs: Tensor, *, table: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """The same, normalised first."""
        x = self.signal(log_probs, table)
        return torch.cosine_similarity(x[..., :, None, :], x[..., None, :, :], dim=-1, eps=0.0)
