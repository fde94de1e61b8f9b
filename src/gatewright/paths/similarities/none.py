"""No listening."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.parts.part import Dims
from gatewright.paths.similarities.base import Similarity
from gatewright.registry import register


@register("similarity", "none")
class NoSimilarity(Similarity):
    """None: nobody hears anybody; A = 0. Every path goes on by itself, as in plain sampling."""

    tempered = False

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)

    def scores(self, signal: Tensor) -> Tensor:
        return signal.new_zeros((*signal.shape[:-1], signal.shape[-2]))

    def attention(self, similarity: Tensor, live: Tensor) -> Tensor:
        return torch.zeros_like(similarity)
