"""The base of position encodings, and the two small records that carry positions through a forward pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gatewright.parts.part import Cost, Dims, Part


@dataclass(frozen=True)
class Span:
    """Which tokens a forward pass is about.

    The T tokens of this pass follow ``start`` tokens that a cache already holds. ``positions`` are their places in the
    text, ``(B, T)`` or ``(1, T)``; ``key_mask`` ``(B, start + T)`` is true for real tokens, None if all are real.
    ``same_document`` ``(B, 1, T, T)`` is true where query and key are of one document, None if all are.
    """

    positions: Tensor
    start: int = 0
    key_mask: Tensor | None = None
    same_document: Tensor | None = None

    @property
    def tokens(self) -> int:
        """T, the tokens of this pass."""
        return self.positions.shape[-1]

    def distance(self) -> Tensor:
        """How far each key lies behind each query, ``(T, start + T)``; negative for keys in the future."""
        device = self.positions.device
        queries = torch.arange(self.start, self.start + self.tokens, device=device)
        return queries[:, None] - torch.arange(self.start + self.tokens, device=device)[None, :]


@dataclass(frozen=True)
class Places:
    """What a position encoding hands to attention: a rotation of queries and keys, a bias on the scores, or nothing."""

    rotation: tuple[Tensor, Tensor] | None = None
    """cos and sin, each ``(B or 1, 1, T, R)`` for the first R ≤ head_dim channels."""
    bias: Tensor | None = None
    """Added to the scores, ``(H, T, start + T)``."""


class Position(Part):
    """A position encoding. It may add to the embeddings, rotate queries and keys, or bias the scores."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()

    def embed(self, span: Span) -> Tensor | None:
        """What is added to the token embeddings, ``(B or 1, T, D)``, or None."""
        return None

    def forward(self, span: Span) -> Places:
        """What attention needs to know; computed once per forward pass, for all layers that share the encoding."""
        return Places()

    def cost(self, tokens: int) -> Cost:
        return Cost()
