"""The parametric rectified linear unit."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.parts.activations.base import Activation
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("activation", "prelu")
class PReLU(Activation):
    """PReLU: ``max(x, 0) + s · min(x, 0)`` with one learnable slope ``s`` (He et al., 2015, arXiv:1502.01852)."""

    label = "PReLU"
    no_weight_decay = True

    def __init__(self, dims: Dims, *, slope: float = 0.25) -> None:
        super().__init__(dims)
        self.start = slope
        self.slope = nn.Parameter(torch.empty(()))
        self.reset()

    def reset(self) -> None:
        nn.init.constant_(self.slope, self.start)

    def forward(self, x: Tensor) -> Tensor:
        # nn.functional.prelu would want the channel in dimension 1; ours is the last one
        return torch.where(x > 0, x, self.slope * x)

    def cost(self, tokens: int) -> Cost:
        return Cost(1)
