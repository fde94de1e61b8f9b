"""The base of all initialisations."""

from __future__ import annotations

from torch import nn

from gatewright.parts.part import Dims


class Init:
    """Says how wide the normal distribution is that a weight is drawn from. Biases start at 0.

    Parameters that a part holds itself (a norm's weights, an α) are none of its business: see `Part.reset`.
    """

    def __init__(self, dims: Dims) -> None:
        self.dims = dims

    def linear_std(self, layer: nn.Linear, residual: bool) -> float:
        """Standard deviation of a linear layer's weights; ``residual``: it writes to the residual stream."""
        raise NotImplementedError

    def embedding_std(self, layer: nn.Embedding) -> float:
        """Standard deviation of an embedding's entries."""
        raise NotImplementedError
