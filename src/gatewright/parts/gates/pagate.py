"""paGating: gates that α lets in by degrees."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from gatewright.errors import UserError
from gatewright.kernels import usable
from gatewright.parts.activations.gelu import GELU
from gatewright.parts.activations.identity import Identity
from gatewright.parts.activations.relu import ReLU
from gatewright.parts.activations.sigmoid import Sigmoid
from gatewright.parts.activations.silu import SiLU
from gatewright.parts.activations.tanh import Tanh
from gatewright.parts.alpha.parse import make_alpha
from gatewright.parts.gates.base import Gate
from gatewright.parts.gates.forms import Function, find_form
from gatewright.parts.norms.base import Norm
from gatewright.parts.part import Dims
from gatewright.registry import create, register

FUSED: dict[type, str] = {
    GELU: "gelu", Identity: "identity", ReLU: "relu", Sigmoid: "sigmoid", SiLU: "silu", Tanh: "tanh"
}  # fmt: skip
"""Activations that `gatewright.kernels.gated` knows."""
FUSED_FORMS = ("gate", "blend", "preserve")
"""Forms that it knows."""


@register("gate", "paglu", activation="sigmoid", word="paGLU", own_form="gate")
@register("gate", "pareglu", "parelu", activation="relu", word="paReGLU", own_form="gate")
@register("gate", "pagelu", activation="gelu", word="paGELU", own_form="gate")
@register("gate", "pamishu", activation="mish", word="paMishU", own_form="gate")
@register("gate", "pasilu", activation="silu", word="paSiLU", own_form="gate")
@register("gate", "paswishu", activation="swish", word="paSwishU", own_form="gate")
@register("gate", "pagtu", activation="tanh", word="paGTU", own_form="preserve")
@register("gate", "paunit", word="paUnit", own_form="gate")
class PaGate(Gate):
    """paGating: joins value a and gate b under α in one of the forms of `gatewright.parts.gates.forms`.

    The units differ only in their activation φ: σ (paGLU), ReLU (paReGLU), GELU (paGELU), Mish (paMishU), SiLU
    (paSiLU), Swish with learnable β (paSwishU), tanh (paGTU: ``tanh(a) ⊙ [α σ(b) + 1 − α]``), any (paUnit).

    - ``form``: null for the unit's own, which is ``gate`` (paGTU: ``preserve``). In ``skip`` φ does not occur, and all
      units are one.
    - ``gate_norm``: GateNorm, a LayerNorm of the gate stream ``before`` or ``after`` its activation. After it, the gate
      is no longer confined to (0, 1) and takes negative values.
    """

    def __init__(
        self,
        dims: Dims,
        *,
        word: str,
        own_form: str,
        activation: Any = "gelu",
        form: str | None = None,
        alpha: Any = 0.5,
        gate_norm: Literal["none", "before", "after"] = "none",
    ) -> None:
        super().__init__(dims)
        self.form = find_form(form or own_form)
        self.two_streams, self.square = not self.form.self_streams, self.form.square
        if self.square and dims.width != dims.n_embd:
            raise UserError(f"form '{self.form.name}' mixes with its input: width {dims.width} must be {dims.n_embd}")
        self.activation = create("activation", activation if self.form.has_phi else "identity", dims)
        self.alpha = make_alpha(alpha, dims)
        self.gate_norm = gate_norm
        self.norm: Norm | None = create("norm", "layernorm", dims) if gate_norm != "none" else None
        word = f"{word}:{self.activation.label}" if word == "paUnit" and self.form.has_phi else word
        details = [self.form.name] if self.form.name != own_form else []
        details += [f"GateNorm-{gate_norm}"] if self.norm is not None else []
        self.label = f"{word}({','.join([*details, f'α={self.alpha.label}'])})"

    def forward(self, value: Tensor, gate: Tensor, x: Tensor) -> Tensor:
        alpha = self.alpha(x).to(value.dtype)
        if usable(value) and self._has_kernel(value, gate, alpha):
            from gatewright.kernels.gated import GatedActivation

            kind = FUSED[type(self.activation)]
            joined: Tensor = GatedActivation.apply(value, gate, alpha, self.form.name, kind)
            return joined
        return self.form.combine(value, gate, x, alpha, self.activation, self.gated)

    def _has_kernel(self, value: Tensor, gate: Tensor, alpha: Tensor) -> bool:
        """Whether one kernel does all there is to do: one α for all, no GateNorm, an activation without weights."""
        plain = self.norm is None and alpha.numel() == 1 and value.dtype == gate.dtype
        return plain and self.form.name in FUSED_FORMS and type(self.activation) in FUSED

    def gated(self, gate: Tensor, function: Function) -> Tensor:
        """The gate stream ``(..., H)`` under ``function``, with GateNorm before or after it where there is one."""
        if self.norm is None:
            return function(gate)
        return function(self.norm(gate)) if self.gate_norm == "before" else self.norm(function(gate))
