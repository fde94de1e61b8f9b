"""α as a constant, for deployment."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.alpha.parse import parse_alpha
from gatewright.surgery.gated_activation import FrozenAlpha, constant_alpha, gated_activations
from gatewright.surgery.record import Record
from gatewright.surgery.sites import innermost


@dataclass(frozen=True)
class Frozen:
    """What became of each gate, as paths of the modules that hold, or held, it; prints as a small table."""

    restored: list[str] = field(default_factory=list)
    """α is where the block is the trained one: the trained activation is back, the gate is gone."""
    linear: list[str] = field(default_factory=list)
    """Form ``gate`` of a plain block at α = 0: no activation is left between the projections, the gate is gone."""
    constant: list[str] = field(default_factory=list)
    """The gate stays, with α as a constant."""
    input_dependent: list[str] = field(default_factory=list)
    """The gate stays as it is: α differs between tokens, so it is no constant."""

    def __str__(self) -> str:
        rows = {
            "gate removed": self.restored,
            "linear now": self.linear,
            "α constant": self.constant,
            "α of the input": self.input_dependent,
        }
        return "\n".join(f"{title:<16} {len(paths)} ({paths[0]}, …)" for title, paths in rows.items() if paths)


def freeze_alpha(model: nn.Module) -> Frozen:
    """Turn every α into the constant that it is now, and take out the gates which that makes needless; in place.

    The model's function stays the same bit for bit. A learnable, scheduled or static α becomes a buffer, one number or
    one for each channel. Where α is at its form's identity (`Report.identity`) everywhere, the trained activation
    returns. Where form ``gate`` of a plain block is at 0, nothing is left between its two projections; they are not
    multiplied into one, which would not be exact. Other gates keep their projection: ψ lies between it and the
    product, so no constant α folds it into the block's weights. An α that depends on the input stays.

    There is no way back. Raises `UserError` if the model is not patched.
    """
    places = list(gated_activations(model))
    if not places:
        raise UserError(f"this {type(model).__name__} is not patched: it has no α to freeze")
    if any(not isinstance(place.gated.gate.alpha, Alpha) for place in places):
        raise UserError("α is inside of an adapter, which has to be merged into the model before α is frozen")
    result = Frozen()
    for place in places:
        gated = place.gated
        value = constant_alpha(gated.gate.alpha)
        if value is None:
            result.input_dependent.append(place.path)
        elif gated.at(gated.identity):
            gated.remove(place.holder, place.name)
            result.restored.append(place.path)
        elif gated.at(gated.linear_point):
            gated.remove(place.holder, place.name, successor=nn.Identity())
            result.linear.append(place.path)
        else:
            gated.gate.alpha = FrozenAlpha(value)
            result.constant.append(place.path)
    _amend(model, result, {place.path: place.activation_path for place in places})
    return result


def _amend(model: nn.Module, result: Frozen, activation_of: dict[str, str]) -> None:
    """Keep the record in the model's configuration true."""
    record = Record.read(getattr(innermost(model), "config", None))
    if record is None:
        return
    gone = {activation_of[path] for path in (*result.restored, *result.linear)}
    kept = [number for number, module in enumerate(record.modules) if module not in gone]
    shapes = {
        place.activation_path: list(place.gated.gate.alpha.value.shape)
        for place in gated_activations(model)
        if isinstance(place.gated.gate.alpha, FrozenAlpha)
    }
    record.frozen = [shapes.get(record.modules[number]) for number in kept]
    record.alpha = [parse_alpha(0.0) if record.modules[number] in shapes else record.alpha[number] for number in kept]
    record.layers = [record.layers[number] for number in kept]
    record.modules = [record.modules[number] for number in kept]
    record.linear += [activation_of[path] for path in result.linear]
    if record.modules or record.linear:
        record.write(model)
    else:
        Record.erase(model)
