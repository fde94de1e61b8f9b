"""The squared rectified linear unit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "relu2", "relu_squared")
class SquaredReLU(Activation):
    """ReLU²: ``max(x, 0)²`` (So et al., 2021, Primer, arXiv:2109.08668)."""

    label = "ReLU2"

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x).square()
