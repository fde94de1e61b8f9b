"""The sigmoid linear unit."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.activations.base import Activation
from gatewright.registry import register


@register("activation", "silu")
class SiLU(Activation):
    """SiLU: ``x σ(x)`` (Elfwing et al., 2017, arXiv:1702.03118)."""

    label = "SiLU"

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(x)
