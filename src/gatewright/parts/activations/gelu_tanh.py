"""The Gaussian error linear unit as GPT-2 computes it."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "gelu_tanh", "gelu_new")
class TanhGELU(Activation):
    """GELU in the tanh form of GPT-2: ``x/2 (1 + tanh(√(2/π) (x + 0.044715 x³)))`` (arXiv:1606.08415)."""

    label = "GELU"

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")
