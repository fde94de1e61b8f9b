"""The Gaussian error linear unit, exact."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "gelu", "gelu_exact")
class GELU(Activation):
    """GELU: ``x Φ(x)`` with the normal distribution's Φ (Hendrycks & Gimpel, 2016, arXiv:1606.08415)."""

    label = "GELU"

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)
