"""One transformer block."""

from __future__ import annotations

from torch import Tensor, nn

from gatewright.parts.attention.base import Attention
from gatewright.parts.attention.cache import LayerCache
from gatewright.parts.feedforward.base import FeedForward
from gatewright.parts.positions.base import Places, Span
from gatewright.parts.residuals.base import Residual


class Block(nn.Module):
    """Attention and feed-forward, each inside its residual connection; ``(B, T, D)`` to ``(B, T, D)``."""

    def __init__(
        self,
        attention: Attention,
        feedforward: FeedForward,
        attention_residual: Residual,
        feedforward_residual: Residual,
    ) -> None:
        super().__init__()
        self.attention_residual = attention_residual
        self.attention = attention
        self.feedforward_residual = feedforward_residual
        self.feedforward = feedforward

    def forward(self, x: Tensor, span: Span, places: Places, cache: LayerCache | None = None) -> Tensor:
        """The residual stream after this block."""
        x = self.attention_residual(x, lambda y: self.attention(y, span, places, cache))
        return self.feedforward_residual(x, self.feedforward)
