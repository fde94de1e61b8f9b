"""A learnable α."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha, check_unit_interval
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("alpha", "learnable")
class LearnableAlpha(Alpha):
    """Learnable: trained with the model; starts exactly at ``start`` and stays in [0, 1].

    - ``per``: one number per layer, per channel, or one for the whole model.
    - ``range``: ``sigmoid`` learns z with α = σ(z), from z = logit(start); its gradient vanishes towards 0 and 1, so it
      cannot start there. ``clamp`` learns α itself, held in [0, 1]; it can start at 0 or 1 and leave again.
    """

    def __init__(
        self,
        dims: Dims,
        *,
        start: float = 0.5,
        per: Literal["layer", "channel", "model"] = "layer",
        range: Literal["sigmoid", "clamp"] = "sigmoid",
    ) -> None:
        super().__init__(dims)
        self.start = check_unit_interval("alpha.start", start)
        if range == "sigmoid" and self.start in (0.0, 1.0):
            raise UserError(f"alpha.start={start:g} has no gradient under alpha.range=sigmoid; use alpha.range=clamp")
        self.range, self.per = range, per
        self.label = "learnable" + (f"@{start:g}" if start != 0.5 else "") + (f"/{per}" if per != "layer" else "")
        self.raw = nn.Parameter(torch.empty(dims.width if per == "channel" else ()))
        self.reset()

    def reset(self) -> None:
        logit = self.range == "sigmoid"
        nn.init.constant_(self.raw, math.log(self.start / (1 - self.start)) if logit else self.start)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self.raw) if self.range == "sigmoid" else _Hold.apply(self.raw)

    def mean(self) -> Tensor:
        return self(self.raw).detach().mean()

    def cost(self, tokens: int) -> Cost:
        return Cost(self.raw.numel())


class _Hold(torch.autograd.Function):
    """``clamp(raw, 0, 1)`` whose gradient is dropped only where a descent step would lead further out.

    Plain clamp has no gradient outside [0, 1]: an optimizer whose momentum carries ``raw`` past the edge could never
    bring it back.
    """

    @staticmethod
    def forward(ctx: Any, raw: Tensor) -> Tensor:
        ctx.save_for_backward(raw)
        return raw.clamp(0.0, 1.0)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (raw,) = ctx.saved_tensors
        outwards = ((raw < 0) & (gradient > 0)) | ((raw > 1) & (gradient < 0))
        return gradient.masked_fill(outwards, 0.0)
