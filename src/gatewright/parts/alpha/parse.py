"""The short ways of writing an α."""

from __future__ import annotations

from typing import Any

from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.part import Dims
from gatewright.registry import create
from gatewright.schema import brief

_PREFIXES = {
    "static": ("static", "value"),
    "learnable": ("learnable", "start"),
    "scheduler": ("scheduled", "shape"),
    "scheduled": ("scheduled", "shape"),
    "input": ("input", "measure"),
}


def parse_alpha(spec: Any) -> dict[str, Any]:
    """An α specification as a mapping with ``name`` and knobs.

    ``0.5`` and ``static_0.5`` are a fixed number; ``learnable`` starts at 0.5, ``learnable_0.3`` at 0.3;
    ``scheduler_cosine`` (or ``scheduled_cosine``, ``…_linear``, ``…_hold``, ``…_step``) moves with training;
    ``input_entropy``, ``input_confidence`` and ``input_projection`` depend on the token. A mapping's ``name`` may be
    any of these, and its other knobs come on top.
    """
    if isinstance(spec, dict) and "name" in spec:
        return {**parse_alpha(spec["name"]), **{knob: value for knob, value in spec.items() if knob != "name"}}
    if isinstance(spec, (int, float)) and not isinstance(spec, bool):
        return {"name": "static", "value": float(spec)}
    if isinstance(spec, str):
        prefix, _, rest = spec.partition("_")
        if prefix not in _PREFIXES or not rest:
            return {"name": spec}
        name, knob = _PREFIXES[prefix]
        if knob in ("shape", "measure"):
            return {"name": name, knob: rest}
        try:
            return {"name": name, knob: float(rest)}
        except ValueError:
            raise UserError(f"alpha={spec}: '{rest}' is not a number") from None
    raise UserError(f"alpha={brief(spec)}: expected a number, a name such as 'learnable', or a mapping with 'name'")


def make_alpha(spec: Any, dims: Dims) -> Alpha:
    """Build an α from any way of writing it; an `Alpha` that exists already (shared between layers) is returned."""
    if isinstance(spec, Alpha):
        return spec
    return create("alpha", parse_alpha(spec), dims)
