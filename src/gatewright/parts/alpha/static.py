"""A fixed α."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.parts.alpha.base import Alpha, check_unit_interval
from gatewright.parts.part import Dims
from gatewright.registry import register


@register("alpha", "static")
class StaticAlpha(Alpha):
    """Static: one number that never changes.

    A buffer rather than a Python float, so that a compiled model serves every value of α.
    """

    value: Tensor

    def __init__(self, dims: Dims, *, value: float = 0.5) -> None:
        super().__init__(dims)
        self.start = check_unit_interval("alpha.value", value)
        self.label = f"{value:g}"
        self.register_buffer("value", torch.tensor(self.start))

    def reset(self) -> None:
        self.value.fill_(self.start)

    def forward(self, x: Tensor) -> Tensor:
        return self.value

    def mean(self) -> Tensor:
        return self.value
