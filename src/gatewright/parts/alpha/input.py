"""An α that each token sets for itself."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from gatewright.parts.alpha.base import Alpha, check_unit_interval
from gatewright.parts.part import Cost, Dims, linear_cost
from gatewright.registry import register


@register("alpha", "input")
class InputAlpha(Alpha):
    """Input-dependent: α from the block's input x ``(..., D)``, one value per token, ``(..., 1)``.

    With p = softmax(x) over the D channels:

    - ``entropy``: ``H(p) / ln D``; α is near 1 where x is spread out, near 0 where one channel stands out.
    - ``confidence``: ``(max p − 1/D) / (1 − 1/D)``, the other way round.
    - ``projection``: ``σ(w·x + c)`` with learned w and c; starts at ``start`` for every token, exactly.

    `mean` is that of the last batch seen in training.
    """

    observed: Tensor

    def __init__(
        self,
        dims: Dims,
        *,
        measure: Literal["entropy", "confidence", "projection"] = "projection",
        start: float = 0.5,
    ) -> None:
        super().__init__(dims)
        self.measure = measure
        self.start = min(max(check_unit_interval("alpha.start", start), 1e-4), 1 - 1e-4)
        self.label = f"input:{measure}"
        self.projection = _Projection(dims.n_embd, self.start) if measure == "projection" else None
        self.register_buffer("observed", torch.full((), float("nan")), persistent=False)

    def reset(self) -> None:
        self.observed.fill_(float("nan"))

    def forward(self, x: Tensor) -> Tensor:
        if self.projection is not None:
            alpha = torch.sigmoid(self.projection(x))
        else:
            log_p = torch.log_softmax(x, dim=-1)
            width = x.shape[-1]
            if self.measure == "entropy":
                alpha = -(log_p.exp() * log_p).sum(-1, keepdim=True) / math.log(width)
            else:
                alpha = (log_p.amax(-1, keepdim=True).exp() - 1 / width) / (1 - 1 / width)
        if self.training and alpha.numel():  # an expert may have been given no token
            self.observed.copy_(alpha.detach().mean())
        return alpha

    def mean(self) -> Tensor:
        return self.observed

    def cost(self, tokens: int) -> Cost:
        return linear_cost(self.projection, tokens) if self.projection is not None else Cost()


class _Projection(nn.Linear):
    """``w·x + c`` that starts at w = 0, c = logit(start), whatever the model's initialisation."""

    def __init__(self, width: int, start: float) -> None:
        self.start = start
        super().__init__(width, 1)

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, math.log(self.start / (1 - self.start)))
