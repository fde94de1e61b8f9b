"""The base of all kinds of α."""

from __future__ import annotations

import math

from torch import Tensor

from gatewright.errors import UserError
from gatewright.parts.part import Cost, Dims, Part


class Alpha(Part):
    """α ∈ [0, 1] of one gate, of width ``dims.width``.

    Kinds differ in where the number comes from. `forward` takes the block's input ``x`` ``(..., D)`` and returns α in a
    shape that broadcasts against ``(..., width)``.
    """

    no_weight_decay = True

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """α for the input ``x``."""
        raise NotImplementedError

    def set_step(self, step: int, max_steps: int) -> None:
        """Tell α which optimizer step comes next. Only scheduled kinds care."""

    def mean(self) -> Tensor:
        """The present α as one number (a 0-d tensor, not synchronised), averaged where there are many."""
        raise NotImplementedError

    def cost(self, tokens: int) -> Cost:
        return Cost()


def check_unit_interval(key: str, value: float) -> float:
    """``value`` if it lies in [0, 1]; otherwise (NaN included) `UserError`."""
    if not (math.isfinite(value) and 0 <= value <= 1):
        raise UserError(f"{key}={value}: α must be in [0, 1]")
    return float(value)
