"""Gates put into a trained model before it is trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gatewright.config.knob import knob
from gatewright.errors import UserError


@dataclass
class PatchConfig:
    """What `gatewright.patch` is asked for; new projections are drawn from ``train.seed``."""

    gate: Any = knob("paglu", "a paGating unit by name, or {name: paglu, gate_norm: before}")
    form: str = knob("preserve", "preserve, blend, gate or skip (any form as self_<form>)")
    alpha: Any = knob(
        None, "α as in model.alpha, or a list by patched block; null: learned from where the block is the trained one"
    )
    layers: list[int] | None = knob(None, "numbers of the blocks to patch, from 0; null: all")
    path: str | None = knob(None, "the blocks of an unknown family, such as model.layers.*.mlp")
    layout: dict[str, str] | None = knob(None, "their parts: {into: …, activation: …, out: …, value: …}")
    preserve: bool = knob(True, "refuse a form in which the block is the trained one at no α")
    train: Literal["all", "alpha"] = knob("all", "alpha: learn α and keep every other weight as it is")

    def validate(self) -> None:
        """Raise `UserError` for values that suit no model. The rest is checked on the model itself."""
        for number in self.layers or []:
            if number < 0:
                raise UserError(f"patch.layers={self.layers}: blocks are numbered from 0")
        if self.layers is not None and (not self.layers or len(set(self.layers)) < len(self.layers)):
            raise UserError(f"patch.layers={self.layers}: expected different numbers of blocks, or null for all")
        if self.layout is not None and self.path is None:
            raise UserError("patch.layout is for blocks named by patch.path, which is missing")
