"""The base of all activations."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.part import Cost, Dims, Part


class Activation(Part):
    """An element-wise function, ``(...)`` to ``(...)``. Without parameters unless a subclass says so."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        """φ(x), element by element."""
        raise NotImplementedError

    def cost(self, tokens: int) -> Cost:
        return Cost()
