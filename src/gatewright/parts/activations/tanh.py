"""The hyperbolic tangent."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "tanh")
class Tanh(Activation):
    """Tanh: ``tanh(x)``."""

    label = "Tanh"

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()
