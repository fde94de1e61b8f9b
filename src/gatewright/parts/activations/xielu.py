"""xIELU, the expanded integral of the exponential linear unit."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.activations.base import Activation
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("activation", "xielu")
class XIELU(Activation):
    """xIELU (Huang & Schlag, 2024, arXiv:2411.13010).

    ``a₊ x² + βx`` for x > 0 and ``a₋ (eˣ − 1 − x) + βx`` otherwise, with learnable ``a₊ = softplus(p)`` and
    ``a₋ = β + softplus(n)``, both 0.8 at the start, and β = 0.5.
    """

    label = "xIELU"
    no_weight_decay = True

    def __init__(self, dims: Dims, *, start: float = 0.8, beta: float = 0.5) -> None:
        super().__init__(dims)
        if not start > max(beta, 0.0):
            raise UserError(f"activation 'xielu'.start={start}: must be above 0 and beta={beta}")
        self.start, self.beta = start, beta
        self.positive = nn.Parameter(torch.empty(()))
        self.negative = nn.Parameter(torch.empty(()))
        self.reset()

    def reset(self) -> None:
        nn.init.constant_(self.positive, math.log(math.expm1(self.start)))
        nn.init.constant_(self.negative, math.log(math.expm1(self.start - self.beta)))

    def forward(self, x: Tensor) -> Tensor:
        up = F.softplus(self.positive)
        down = self.beta + F.softplus(self.negative)
        below = x.clamp(max=0.0)  # keeps expm1 finite where its branch is not taken, and its gradient with it
        return torch.where(x > 0, up * x * x, down * (torch.expm1(below) - below)) + self.beta * x

    def cost(self, tokens: int) -> Cost:
        return Cost(2)
