"""The base of all gates."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.part import Cost, Dims, Part


class Gate(Part):
    """Joins two streams of the block input x ``(..., D)``: value a and gate b, each ``(..., width)``."""

    two_streams: bool = True
    """Whether b is a projection of its own; if not, the gate is called with b = a."""
    square: bool = False
    """Whether the output is mixed with x itself, so that width must equal D."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    def forward(self, value: Tensor, gate: Tensor, x: Tensor) -> Tensor:
        """The joined stream, ``(..., width)``."""
        raise NotImplementedError

    def cost(self, tokens: int) -> Cost:
        return sum((part.cost(tokens) for part in self.children() if isinstance(part, Part)), Cost())
