"""No normalisation."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.norms.base import Norm
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("norm", "none")
class NoNorm(Norm):
    """The identity: a control."""

    label = "NoNorm"

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x

    def cost(self, tokens: int) -> Cost:
        return Cost()
