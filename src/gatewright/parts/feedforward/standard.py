"""The plain feed-forward block."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.feedforward.base import FeedForward
from gatewright.parts.part import Cost, Dims, linear_cost, residual_output
from gatewright.registry import create, register


@register("feedforward", "standard", "mlp")
class StandardFeedForward(FeedForward):
    """Standard: ``W₂ φ(W₁ x)``, two projections (Vaswani et al., 2017, arXiv:1706.03762)."""

    def __init__(self, dims: Dims, *, hidden: int, activation: Any = "gelu") -> None:
        super().__init__()
        if hidden < 1:
            raise UserError(f"feedforward.hidden={hidden}: must be at least 1")
        self.up_proj = nn.Linear(dims.n_embd, hidden, bias=dims.bias)
        self.activation = create("activation", activation, dims.at(width=hidden))
        self.down_proj = residual_output(nn.Linear(hidden, dims.n_embd, bias=dims.bias))
        self.label = self.activation.label

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.activation(self.up_proj(x)))

    def cost(self, tokens: int) -> Cost:
        return linear_cost(self.up_proj, tokens) + self.activation.cost(tokens) + linear_cost(self.down_proj, tokens)
