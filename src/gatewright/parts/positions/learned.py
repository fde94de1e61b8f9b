"""Learned absolute positions."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.part import Cost, Dims, empty_embedding
from gatewright.parts.positions.base import Position, Span
from gatewright.registry import register


@register("position", "learned", "absolute")
class Learned(Position):
    """Learned: one vector per position, added to the token embedding (GPT-2)."""

    label = "AbsPos"

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)
        self.embedding = empty_embedding(dims.block_size, dims.n_embd)

    def embed(self, span: Span) -> Tensor:
        return self.embedding(span.positions)

    def cost(self, tokens: int) -> Cost:
        return Cost(self.embedding.num_embeddings * self.embedding.embedding_dim)
