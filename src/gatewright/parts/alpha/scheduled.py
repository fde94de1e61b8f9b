"""An α that moves on a fixed course during training."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha, check_unit_interval
from gatewright.parts.part import Dims
from gatewright.registry import register

Shape = Literal["cosine", "linear", "hold", "step"]


@register("alpha", "scheduled")
class ScheduledAlpha(Alpha):
    """Scheduled: from ``start`` to ``end`` along ``shape``, over ``steps`` optimizer steps (null: the whole run).

    With p = step / steps held in [0, 1]: ``cosine`` follows ``end + (start − end)(1 + cos πp)/2``; ``linear`` a
    straight line; ``hold`` a straight line until p = ``knee``, then ``end``; ``step`` jumps at p = ``knee``. Going down
    is ``start`` > ``end``. The present value is part of the model's state, so a checkpoint keeps it.
    """

    value: Tensor

    def __init__(
        self,
        dims: Dims,
        *,
        shape: Shape = "cosine",
        start: float = 0.0,
        end: float = 1.0,
        steps: int | None = None,
        knee: float = 0.5,
    ) -> None:
        super().__init__(dims)
        if shape not in ("cosine", "linear", "hold", "step"):
            raise UserError(f"alpha.shape={shape}: expected cosine, linear, hold or step")
        if steps is not None and steps < 1:
            raise UserError(f"alpha.steps={steps}: must be at least 1")
        if not 0 < knee <= 1:
            raise UserError(f"alpha.knee={knee}: must be in (0, 1]")
        self.shape, self.steps, self.knee = shape, steps, knee
        self.start = check_unit_interval("alpha.start", start)
        self.end = check_unit_interval("alpha.end", end)
        self.label = f"{shape}:{start:g}-{end:g}"
        self.register_buffer("value", torch.tensor(self.start))

    def reset(self) -> None:
        self.value.fill_(self.start)

    def at(self, progress: float) -> float:
        """α when the share ``progress`` of the steps is done."""
        p = min(max(progress, 0.0), 1.0)
        share = {
            "cosine": (1 - math.cos(math.pi * p)) / 2,
            "linear": p,
            "hold": min(p / self.knee, 1.0),
            "step": float(p >= self.knee),
        }[self.shape]
        return self.start + (self.end - self.start) * share

    def set_step(self, step: int, max_steps: int) -> None:
        self.value.fill_(self.at(step / (self.steps or max_steps)))

    def forward(self, x: Tensor) -> Tensor:
        return self.value

    def mean(self) -> Tensor:
        return self.value
