"""Norm before the sub-layer."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.residuals.base import Residual, Sublayer
from gatewright.registry import register


@register("norm_position", "pre")
class PreNorm(Residual):
    """Pre-norm: ``x + f(norm(x))``, and a norm after the last block (GPT-2; Xiong et al., 2020, arXiv:2002.04745)."""

    label = "PreNorm"

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        return x + self.dropout(sublayer(self.norm(x)))
