"""Swish with a learnable slope."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.parts.activations.base import Activation
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("activation", "swish")
class Swish(Activation):
    """Swish-β: ``x σ(βx)`` with one learnable β (Ramachandran et al., 2017, arXiv:1710.05941); β = 1 is SiLU."""

    label = "Swish"
    no_weight_decay = True

    def __init__(self, dims: Dims, *, beta: float = 1.0) -> None:
        super().__init__(dims)
        self.start = beta
        self.beta = nn.Parameter(torch.empty(()))
        self.reset()

    def reset(self) -> None:
        nn.init.constant_(self.beta, self.start)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.beta * x)

    def cost(self, tokens: int) -> Cost:
        return Cost(1)
