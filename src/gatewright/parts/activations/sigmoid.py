"""The logistic sigmoid."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "sigmoid")
class Sigmoid(Activation):
    """Sigmoid: ``σ(x) = 1 / (1 + e⁻ˣ)``, the gate of the original GLU (Dauphin et al., 2017, arXiv:1612.08083)."""

    label = "Sigmoid"

    def forward(self, x: Tensor) -> Tensor:
        return x.sigmoid()
