"""The gated linear units, without α."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gatewright.parts.gates.base import Gate
from gatewright.parts.part import Dims
from gatewright.registry import create, register


@register("gate", "glu", activation="sigmoid", word="GLU")
@register("gate", "reglu", activation="relu", word="ReGLU")
@register("gate", "geglu", activation="gelu", word="GeGLU")
@register("gate", "swiglu", activation="silu", word="SwiGLU")
@register("gate", "bilinear", activation="identity", word="Bilinear")
class GLU(Gate):
    """GLU family: ``a ⊙ φ(b)`` (Dauphin et al., 2017, arXiv:1612.08083; Shazeer, 2020, arXiv:2002.05202)."""

    def __init__(self, dims: Dims, *, activation: Any, word: str) -> None:
        super().__init__(dims)
        self.label = word
        self.activation = create("activation", activation, dims)

    def forward(self, value: Tensor, gate: Tensor, x: Tensor) -> Tensor:
        return value * self.activation(gate)
