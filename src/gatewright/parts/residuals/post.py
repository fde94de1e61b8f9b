"""Norm after the addition."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.residuals.base import Residual, Sublayer
from gatewright.registry import register


@register("norm_position", "post")
class PostNorm(Residual):
    """Post-norm: ``norm(x + f(x))``, the original transformer (Vaswani et al., 2017, arXiv:1706.03762)."""

    label = "PostNorm"
    final_norm = False

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        return self.norm(x + self.dropout(sublayer(x)))
