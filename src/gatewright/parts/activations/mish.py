"""Mish."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "mish")
class Mish(Activation):
    """Mish: ``x tanh(ln(1 + eˣ))`` (Misra, 2019, arXiv:1908.08681)."""

    label = "Mish"

    def forward(self, x: Tensor) -> Tensor:
        return F.mish(x)
