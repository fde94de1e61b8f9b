"""The gated feed-forward block, for every registered gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.feedforward.base import FeedForward
from gatewright.parts.gates.unit import GatedUnit
from gatewright.parts.part import Cost, Dims, linear_cost, residual_output
from gatewright.registry import find, register, split_spec


@register("feedforward", "gated")
class GatedFeedForward(GatedUnit, FeedForward):
    """Gated: ``W₃ gate(W₁ x, W₂ x, x)``; ``feedforward: swiglu`` is this block with that gate.

    W₁ is ``up_proj`` as in the plain block, so that a plain and a gated arm of one width start from the same weights.
    """

    def __init__(
        self,
        dims: Dims,
        *,
        hidden: int,
        gate: Any = "swiglu",
        activation: Any = None,
        alpha: Any = None,
        form: str | None = None,
        gate_norm: Literal["before", "after"] | None = None,
    ) -> None:
        if hidden < 1:
            raise UserError(f"feedforward.hidden={hidden}: must be at least 1")
        context = {"activation": activation, "alpha": alpha, "form": form, "gate_norm": gate_norm}
        super().__init__(dims.at(width=hidden), gate, **context)
        self.down_proj = residual_output(nn.Linear(hidden, dims.n_embd, bias=dims.bias))
        self.label = self.gate.label

    @classmethod
    def own_activation(cls, knobs: Mapping[str, Any]) -> Any:
        name, gate_knobs = split_spec("gate", knobs.get("gate", "swiglu"))
        return knobs.get("activation") or {**gate_knobs, **find("gate", name).fixed}.get("activation")

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(super().forward(x))

    def cost(self, tokens: int) -> Cost:
        return super().cost(tokens) + linear_cost(self.down_proj, tokens)
