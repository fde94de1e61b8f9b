"""The base of all feed-forward blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from gatewright.parts.part import Part
from gatewright.registry import find, split_spec


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

    @classmethod
    def own_activation(cls, knobs: Mapping[str, Any]) -> Any:
        """What `own_activation` says of a block of this class with these knobs."""
        return knobs.get("activation")

    def report(self) -> dict[str, float]:
        """Numbers worth logging about the last training batch."""
        return {}


def own_activation(spec: Any) -> Any:
    """The activation that a feed-forward's specification settles by itself (``swiglu``: SiLU).

    None if the block takes the model's.
    """
    name, knobs = split_spec("feedforward", spec)
    entry = find("feedforward", name)
    return entry.target.own_activation({**knobs, **entry.fixed})
