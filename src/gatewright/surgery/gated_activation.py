"""A gate in a trained feed-forward block, standing where the block's activation stood."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gatewright.parts.alpha.base import Alpha
from gatewright.parts.alpha.learnable import LearnableAlpha
from gatewright.parts.alpha.scheduled import ScheduledAlpha
from gatewright.parts.alpha.static import StaticAlpha
from gatewright.parts.gates.pagate import PaGate
from gatewright.parts.part import Dims
from gatewright.surgery.inlet import Inlet
from gatewright.surgery.sites import innermost

_PLAIN_IDENTITY = {"preserve": 0.0, "blend": 0.0, "self_preserve": 0.0, "self_blend": 0.0}
_GATED_IDENTITY = {**_PLAIN_IDENTITY, "gate": 1.0, "self_gate": 1.0}


class FrozenAlpha(Alpha):
    """Frozen: what α was, one number or one for each channel, as a constant."""

    value: Tensor

    def __init__(self, value: Tensor) -> None:
        super().__init__(Dims(1))
        self.register_buffer("value", value.detach().clone())
        self.label = "frozen"

    def forward(self, x: Tensor) -> Tensor:
        return self.value

    def mean(self) -> Tensor:
        return self.value.mean()


_CONSTANT_KINDS = (StaticAlpha, ScheduledAlpha, LearnableAlpha, FrozenAlpha)


def constant_alpha(alpha: Alpha) -> Tensor | None:
    """The present α where it is the same for every input, else None."""
    return alpha(torch.empty(0)).detach() if isinstance(alpha, _CONSTANT_KINDS) else None


def identity_point(gate: PaGate, gated_block: bool) -> float | None:
    """The α at which a block with this gate is the trained block, None if there is none.

    In a gated block form ``gate`` works on the trained gate, which is whole at α = 1 unless GateNorm changes it.
    """
    if gated_block and gate.form.name in ("gate", "self_gate") and gate.norm is not None:
        return None
    return (_GATED_IDENTITY if gated_block else _PLAIN_IDENTITY).get(gate.form.name)


class GatedActivation(nn.Module):
    """The form's formula in place of the activation φ of a trained block; ``(..., H)`` to ``(..., H)``.

    ψ is the function of the gate's unit (σ for paGLU). In a plain block, ``out(φ(a))`` with ``a = into(x)``, the gate
    stream b is a new projection of x, or a itself in the ``self_`` forms:

        preserve  φ(a) ⊙ [(1 − α) + α ψ(b)]      blend  α ψ(b) + (1 − α) φ(a)      gate  a ⊙ [α ψ(b) + (1 − α)]

    In a gated block, ``out(a ⊙ φ(b))`` with ``b = into(x)``, both streams exist and nothing is added. The block itself
    multiplies by a:

        preserve  φ(b) ⊙ [(1 − α) + α ψ(b)]      blend  α ψ(b) + (1 − α) φ(b)      gate  α φ(b) + (1 − α)
    """

    def __init__(
        self,
        original: Callable[[Tensor], Tensor],
        gate: PaGate,
        gate_proj: nn.Linear | None,
        *,
        gated_block: bool,
        path: str,
    ) -> None:
        super().__init__()
        self.original: Any = original
        self.gate = gate
        self.gate_proj = gate_proj
        is_gate = gate.form.name in ("gate", "self_gate")
        self.on_trained_gate = gated_block and is_gate
        self.identity = identity_point(gate, gated_block)
        self.linear_point = 0.0 if is_gate and not gated_block else None
        reads_input = gate_proj is not None or gate.form.square or not isinstance(gate.alpha, _CONSTANT_KINDS)
        self.inlet = Inlet(path) if reads_input else None
        self._handle: RemovableHandle | None = None

    def install(self, holder: nn.Module, name: str, into: nn.Module) -> None:
        """Take the activation's place in ``holder``, and see what ``into`` is given."""
        if not isinstance(self.original, nn.Module) and name in holder.__dict__:
            delattr(holder, name)
        setattr(holder, name, self)
        if self.inlet is not None:
            self._handle = into.register_forward_pre_hook(self.inlet)

    def remove(self, holder: nn.Module, name: str, successor: Any = None) -> None:
        """Give the place to ``successor``, the activation that stood there if left out."""
        successor = self.original if successor is None else successor
        if not isinstance(successor, nn.Module):
            delattr(holder, name)
        setattr(holder, name, successor)
        if self._handle is not None:
            self._handle.remove()

    def share_alpha(self) -> None:
        """Say that α's parameters are those of other gates too: transformers then saves them once."""
        self._tied_weights_keys = {
            f"gate.alpha.{name}": f"gate.alpha.{name}" for name, _ in self.gate.alpha.named_parameters()
        }

    def new_modules(self) -> nn.ModuleDict:
        """What is not the trained block's own."""
        return nn.ModuleDict({"gate": self.gate} | ({} if self.gate_proj is None else {"gate_proj": self.gate_proj}))

    def at(self, point: float | None) -> bool:
        """Whether α is ``point`` everywhere, whatever the input."""
        alpha = constant_alpha(self.gate.alpha)
        return point is not None and alpha is not None and not alpha.is_meta and bool((alpha == point).all())

    def forward(self, into: Tensor) -> Tensor:
        """The block's hidden stream, from what the projection before the activation gave."""
        x = into if self.inlet is None else self.inlet.take()
        b = into if self.gate_proj is None else self.gate_proj(x)
        alpha = self.gate.alpha(x).to(into.dtype)
        a = into.new_ones(()) if self.on_trained_gate else into
        form = self.gate.form
        return form.combine(a, b, x, alpha, self.original, self._squash if form.has_phi else self.gate.gated)

    def _squash(self, b: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """The gate stream under ψ instead of the form's ``function``, with GateNorm where the unit has one."""
        return self.gate.gated(b, self.original if self.on_trained_gate else self.gate.activation)


class Place(NamedTuple):
    """A gated activation in a model: the module that holds it, that module's path, and its name there."""

    path: str
    holder: nn.Module
    name: str
    gated: GatedActivation

    @property
    def activation_path(self) -> str:
        """Where the gated activation itself is."""
        return f"{self.path}.{self.name}" if self.path else self.name


def gated_activations(model: nn.Module) -> Iterator[Place]:
    """Every gate that surgery put in, those of shared modules once."""
    for path, holder in list(innermost(model).named_modules()):
        for name, child in list(holder.named_children()):
            if isinstance(child, GatedActivation):
                yield Place(path, holder, name, child)
