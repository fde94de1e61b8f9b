"""Initialisation by fan-in."""

from __future__ import annotations

import math

from torch import nn

from gatewright.parts.inits.base import Init
from gatewright.registry import register


@register("init", "fan_in")
class FanInInit(Init):
    """Fan-in: N(0, 1/fan_in), residual outputs N(0, 1/(2L · fan_in)), embeddings N(0, 1/D) (LeCun et al., 1998).

    Keeps the scale of a signal at any width. With ``embedding_scale: sqrt_dim`` the embedded tokens have unit variance
    while the tied head still sees fan-in weights.
    """

    def linear_std(self, layer: nn.Linear, residual: bool) -> float:
        return 1 / math.sqrt(layer.in_features * (2 * self.dims.n_layer if residual else 1))

    def embedding_std(self, layer: nn.Embedding) -> float:
        return 1 / math.sqrt(layer.embedding_dim)
