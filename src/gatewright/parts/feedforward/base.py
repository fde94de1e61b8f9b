"""The base of all feed-forward blocks."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.part import Part


class FeedForward(Part):
    """Maps each token on its own, ``(B, T, D)`` to ``(B, T, D)``.

    The constructor names what it takes of the model's settings: ``hidden`` (its width H), ``activation``, ``alpha``,
    ``form``, ``gate_norm``.
    """

    aux_loss: Tensor | None = None
    """Added to the training loss; set by the last forward pass in training (a mixture's load balance)."""

    def forward(self, x: Tensor) -> Tensor:
        """The block's output."""
        raise NotImplementedError

    def report(self) -> dict[str, float]:
        """Numbers worth logging about the last training batch."""
        return {}
