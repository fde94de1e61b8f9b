"""Attention with linear biases."""

from __future__ import annotations

import math

import torch

from gatewright.parts.part import Dims
from gatewright.parts.positions.base import Places, Position, Span
from gatewright.registry import register


@register("position", "alibi")
class ALiBi(Position):
    """ALiBi: each head takes ``slope · distance`` off its scores (Press et al., 2021, arXiv:2108.12409).

    For a power of two of heads H the slopes are ``2^(−8i/H)``, i = 1…H; otherwise those of the next smaller power of
    two, followed by every other one of the next larger.
    """

    label = "ALiBi"

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        self.n_head = dims.n_head

    def forward(self, span: Span) -> Places:
        distance = span.distance().clamp(min=0).float()
        slopes = torch.tensor(alibi_slopes(self.n_head), device=distance.device)
        return Places(bias=-slopes[:, None, None] * distance)


def alibi_slopes(n_head: int) -> list[float]:
    """The slope of each head."""
    lower = 2 ** math.floor(math.log2(n_head))
    slopes = [2 ** (-8 * i / lower) for i in range(1, lower + 1)]
    between = [2 ** (-4 * i / lower) for i in range(1, 2 * lower + 1, 2)]
    return (slopes + between)[:n_head]
