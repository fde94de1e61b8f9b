"""The record of a patch in a model's configuration, from which a saved model can be patched again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from torch import nn

from gatewright.errors import UserError
from gatewright.surgery.sites import innermost

KEY = "gatewright_patch"


@dataclass
class Record:
    """What `patch` was asked for, and what `freeze_alpha` made of it since."""

    gate: Any
    form: str
    alpha: list[Any]
    """The specification of each patched block's α."""
    frozen: list[list[int] | None]
    """The shape of each α that is a constant by now, None for others."""
    layers: list[int]
    modules: list[str]
    """Where the gated activations are."""
    path: str | None = None
    layout: Any = None
    linear: list[str] = field(default_factory=list)
    """Activations that `freeze_alpha` replaced by the identity."""

    def write(self, model: nn.Module) -> None:
        """Put the record into the model's configuration, so that ``save_pretrained`` writes it. Some have none."""
        if (config := getattr(innermost(model), "config", None)) is not None:
            setattr(config, KEY, asdict(self))

    @classmethod
    def read(cls, config: Any) -> Record | None:
        """The record in a configuration, None if there is none. `UserError` for one that is not ours."""
        found = getattr(config, KEY, None)
        if found is None:
            return None
        names = {each.name for each in fields(cls)}
        if not isinstance(found, Mapping) or set(found) != names:
            raise UserError(f"config.{KEY} was not written by this version of gatewright")
        return cls(**found)

    @staticmethod
    def erase(model: nn.Module) -> None:
        """Take the record out of the model's configuration."""
        config = getattr(innermost(model), "config", None)
        if config is not None and hasattr(config, KEY):
            delattr(config, KEY)
