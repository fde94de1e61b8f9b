"""The forms in which α lets a gate in: one algebra, five names.

a is the value stream, b the gate stream, x the block's input, φ the unit's activation, σ the sigmoid. ``gated(b, f)``
applies f to the gate stream, with GateNorm where the unit has one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gatewright.errors import unknown

Function = Callable[[Tensor], Tensor]
Gated = Callable[[Tensor, Function], Tensor]


@dataclass(frozen=True)
class Form:
    """A way to join the streams.

    ``square``: x itself is mixed in, so width must equal D. ``has_phi``: φ occurs in the formula. ``self_streams``: b
    is a itself, and no gate projection exists.
    """

    name: str
    combine: Callable[[Tensor, Tensor, Tensor, Tensor, Function, Gated], Tensor]
    square: bool = False
    has_phi: bool = True
    self_streams: bool = False


def _gate(a: Tensor, b: Tensor, x: Tensor, alpha: Tensor, phi: Function, gated: Gated) -> Tensor:
    """``a ⊙ [α φ(b) + (1 − α)]``: affine at α = 0, a GLU at α = 1."""
    return a * (alpha * gated(b, phi) + (1 - alpha))


def _blend(a: Tensor, b: Tensor, x: Tensor, alpha: Tensor, phi: Function, gated: Gated) -> Tensor:
    """``α σ(b) + (1 − α) φ(a)``: a plain block at α = 0, the gate alone at α = 1."""
    return alpha * gated(b, torch.sigmoid) + (1 - alpha) * phi(a)


def _skip(a: Tensor, b: Tensor, x: Tensor, alpha: Tensor, phi: Function, gated: Gated) -> Tensor:
    """``α (σ(b) ⊙ a) + (1 − α) x``: the input itself at α = 0, GLU at α = 1. Needs square projections; has no φ."""
    return alpha * (gated(b, torch.sigmoid) * a) + (1 - alpha) * x


def _preserve(a: Tensor, b: Tensor, x: Tensor, alpha: Tensor, phi: Function, gated: Gated) -> Tensor:
    """``φ(a) ⊙ [1 − α + α σ(b)]``: at α = 0 the plain block, bit for bit (the bracket is then exactly 1)."""
    return phi(a) * ((1 - alpha) + alpha * gated(b, torch.sigmoid))


_TWO_STREAMS = [
    Form("gate", _gate),
    Form("blend", _blend),
    Form("skip", _skip, square=True, has_phi=False),
    Form("preserve", _preserve),
]
_ONE_STREAM = [replace(form, name=f"self_{form.name}", self_streams=True) for form in _TWO_STREAMS]
FORMS = {form.name: form for form in (*_TWO_STREAMS, *_ONE_STREAM)}


def find_form(name: str) -> Form:
    """The form called ``name``; ``self`` means ``self_preserve``. `UserError` for an unknown one."""
    name = "self_preserve" if name == "self" else name
    if name not in FORMS:
        raise unknown("gate form", name, [*FORMS, "self"])
    return FORMS[name]
