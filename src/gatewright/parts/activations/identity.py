"""No activation."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "identity", "none")
class Identity(Activation):
    """Identity: ``x``; as a gate it makes the bilinear unit (Shazeer, 2020, arXiv:2002.05202)."""

    label = "Linear"

    def forward(self, x: Tensor) -> Tensor:
        return x
