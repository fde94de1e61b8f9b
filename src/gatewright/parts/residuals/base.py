"""The base of all residual connections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.part import Cost, Dims, Part
from gatewright.registry import create

Sublayer = Callable[[Tensor], Tensor]


class Residual(Part):
    """Wraps a sub-layer f (attention or feed-forward): norms, dropout and the addition. ``(B, T, D)`` both ways."""

    final_norm: ClassVar[bool] = True
    """Whether the stack needs one more norm at its end."""

    def __init__(self, dims: Dims, *, norm: Any = "layernorm", dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"norm_position.dropout={dropout}: must be in [0, 1)")
        self.norm = create("norm", norm, dims)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sublayer: Sublayer) -> Tensor:
        """The residual stream after ``sublayer``."""
        raise NotImplementedError

    def cost(self, tokens: int) -> Cost:
        return self.norm.cost(tokens)
