"""No position encoding."""

from __future__ import annotations

from gatewright.parts.positions.base import Position
from gatewright.registry import register


@register("position", "none", "nope")
class NoPosition(Position):
    """None: the causal mask alone tells positions apart (Kazemnejad et al., 2023, arXiv:2305.19466)."""

    label = "NoPos"
