"""Dynamic Tanh, a normalisation without statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.parts.norms.base import Norm
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("norm", "dyt")
class DyT(Norm):
    """DyT: ``tanh(s · x) · w + b`` with one learnable ``s`` (Zhu et al., 2025, arXiv:2503.10622).

    A bounded norm in front of a multiplicative gate can collapse (arXiv:2604.23434): watch the gradient norm when DyT
    meets a GLU.
    """

    label = "DyT"

    def __init__(self, dims: Dims, *, start: float = 0.5) -> None:
        super().__init__()
        self.start = start
        self.scale = nn.Parameter(torch.empty(()))
        self.weight = nn.Parameter(torch.empty(dims.width))
        self.bias = nn.Parameter(torch.empty(dims.width))
        self.reset()

    def reset(self) -> None:
        nn.init.constant_(self.scale, self.start)
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.scale * x) * self.weight + self.bias

    def cost(self, tokens: int) -> Cost:
        return Cost(2 * self.weight.numel() + 1)
