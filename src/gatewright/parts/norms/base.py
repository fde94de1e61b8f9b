"""The base of all normalisations."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.part import Part


class Norm(Part):
    """Maps ``(..., width)`` to ``(..., width)``."""

    def forward(self, x: Tensor) -> Tensor:
        """The normalised ``x``."""
        raise NotImplementedError
