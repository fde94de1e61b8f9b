"""What a new part of each kind is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatewright.errors import UserError
from gatewright.plugins import Plugin
from gatewright.registry import Entry


@dataclass(frozen=True)
class Rivals:
    """The key that a part of the kind is set under, and the values it competes with there."""

    key: str
    values: Mapping[str, str]
    """By name of their arm; the first is the baseline."""
    component: str | None
    """The part of a model's cost that such a part changes; None if it changes none."""
    surroundings: tuple[str, ...] = ()
    """Overrides that give the part something to do."""
    also_shown: Mapping[str, str] = field(default_factory=dict)
    """Beside the rivals in the table of costs, but not trained."""

    @property
    def baseline(self) -> str:
        """The arm that the others are compared with."""
        return next(iter(self.values))

    @property
    def arms(self) -> dict[str, list[str]]:
        """The overrides of the rivals' arms, by name."""
        return {name: [self.override(value)] for name, value in self.values.items()}

    def override(self, value: str) -> str:
        """The override that puts ``value`` in the part's place."""
        return f"{self.key}={value}"


RIVALS = {
    "gate": Rivals(
        "model.feedforward",
        {"gelu": "standard", "swiglu": "swiglu"},
        "feedforward",
        also_shown={"pagelu": "pagelu"},
    ),
    "feedforward": Rivals("model.feedforward", {"gelu": "standard", "swiglu": "swiglu"}, "feedforward"),
    "activation": Rivals(
        "model.activation",
        {"gelu": "gelu", "silu": "silu", "relu2": "relu2"},
        "feedforward",
        surroundings=("model.feedforward=standard",),
    ),
    "alpha": Rivals(
        "model.alpha",
        {"static": "static_0.5", "learnable": "learnable"},
        "feedforward",
        surroundings=("model.feedforward=pagelu",),
    ),
    "norm": Rivals("model.norm", {"rmsnorm": "rmsnorm", "layernorm": "layernorm"}, "norm"),
    "norm_position": Rivals("model.norm_position", {"pre": "pre", "sandwich": "sandwich"}, "norm"),
    "position": Rivals("model.position", {"rope": "rope", "alibi": "alibi"}, "position"),
    "attention": Rivals("model.attention", {"manual": "manual"}, "attention"),
    "init": Rivals("model.init", {"fan_in": "fan_in", "gpt2": "gpt2"}, None),
}
"""One row for each kind that a language model is made of."""


def rivals_of(entry: Entry) -> Rivals:
    """What ``entry`` competes with; `UserError` for a kind that no language model is made of."""
    if entry.kind not in RIVALS:
        raise UserError(f"a {entry.kind} is no part of a language model, so there is nothing to train: use --no-study")
    return RIVALS[entry.kind]


def own_arm(entry: Entry, plugin: Plugin) -> tuple[str, list[str]]:
    """The part's own arm: its name, which no rival has, and its overrides."""
    rivals = rivals_of(entry)
    taken = {name.casefold() for name in (*rivals.values, *rivals.also_shown)}
    name = entry.name if entry.name.casefold() not in taken else f"{entry.name}-{entry.kind}"
    value = entry.name if entry.name.isidentifier() else _quoted(entry.name)
    return name, [f"plugins=[{_quoted(str(plugin.path))}]", rivals.override(value)]


def _quoted(text: str) -> str:
    """``text`` as a value in Hydra's grammar, whatever characters it has."""
    return '"' + text.replace('"', '\\"') + '"'
