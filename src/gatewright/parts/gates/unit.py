"""A gate with its projections: the smallest thing that can stand in a network."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.gates.base import Gate
from gatewright.parts.part import Cost, Dims, linear_cost
from gatewright.parts.together import linear_together
from gatewright.registry import create


class GatedUnit(nn.Module):
    """``gate(A(x), B(x), x)``: maps ``(..., in_features)`` to ``(..., out_features)``.

    A and B are linear; B does not exist where the gate's form uses the value stream alone.
    """

    def __init__(self, dims: Dims, gate: Any, **context: Any) -> None:
        super().__init__()
        self.gate: Gate = create("gate", gate, dims, required=("alpha", "form", "gate_norm"), **context)
        self.up_proj = nn.Linear(dims.n_embd, dims.width, bias=dims.bias)
        self.gate_proj = nn.Linear(dims.n_embd, dims.width, bias=dims.bias) if self.gate.two_streams else None

    def forward(self, x: Tensor) -> Tensor:
        """The gated projection of ``x`` ``(..., in_features)``."""
        streams = linear_together(x, self.up_proj, *([] if self.gate_proj is None else [self.gate_proj]))
        return self.gate(streams[0], streams[-1], x)

    def cost(self, tokens: int) -> Cost:
        """Parameters, and FLOPs of one forward pass over ``tokens`` rows."""
        total = linear_cost(self.up_proj, tokens) + self.gate.cost(tokens)
        return total if self.gate_proj is None else total + linear_cost(self.gate_proj, tokens)


def make_gate(
    name: str,
    in_features: int,
    out_features: int,
    *,
    alpha: Any = None,
    form: str | None = None,
    gate_norm: Literal["none", "before", "after"] | None = None,
    activation: Any = None,
    bias: bool = True,
) -> GatedUnit:
    """A gate by name, with its projections, for use in any PyTorch model.

    ``make_gate("paglu", 512, 2048, alpha="learnable", form="preserve")``. ``alpha`` is a number, a string such as
    ``learnable`` or ``scheduler_cosine``, or a mapping with knobs (0.5 if left out). Raises `UserError` for an unknown
    name or form, an α outside [0, 1], and for α asked of a gate that has none.
    """
    for key, size in (("in_features", in_features), ("out_features", out_features)):
        if size < 1:
            raise UserError(f"{key}={size}: must be at least 1")
    gate_norm = None if gate_norm == "none" else gate_norm
    dims = Dims(in_features, width=out_features, bias=bias)
    return GatedUnit(dims, name, alpha=alpha, form=form, gate_norm=gate_norm, activation=activation)
