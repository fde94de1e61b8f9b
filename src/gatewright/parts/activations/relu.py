"""The rectified linear unit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "relu")
class ReLU(Activation):
    """ReLU: ``max(x, 0)`` (Nair & Hinton, 2010)."""

    label = "ReLU"

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x)
