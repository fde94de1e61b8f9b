"""Norms before and after the sub-layer."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gatewright.parts.part import Cost, Dims
from gatewright.parts.residuals.base import Residual, Sublayer
from gatewright.registry import create, register


@register("norm_position", "sandwich")
class SandwichNorm(Residual):
    """Sandwich norm: ``x + norm₂(f(norm₁(x)))`` (Ding et al., 2021, CogView, arXiv:2105.13290)."""

    label = "Sandwich"

    def __init__(self, dims: Dims, *, norm: Any = "layernorm", dropout: float = 0.0) -> None:
        super().__init__(dims, norm=norm, dropout=dropout)
        self.outer_norm = create("norm", norm, dims)

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        return x + self.dropout(self.outer_norm(sublayer(self.norm(x))))

    def cost(self, tokens: int) -> Cost:
        return super().cost(tokens) + self.outer_norm.cost(tokens)
