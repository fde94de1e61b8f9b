"""A dataclass field that carries its own documentation: one field is one documented knob."""

from __future__ import annotations

import dataclasses
from typing import Any


def knob(default: Any, doc: str, *, part: str | None = None) -> Any:
    """A dataclass field with a default and a line of documentation.

    ``part`` names the registry the value is looked up in: such a field takes a name (``rope``), a name with knobs
    (``{name: rope, theta: 500000}``) or, where the part belongs to a layer, a list with one of these per layer.
    """
    metadata = {"doc": doc, "part": part}
    if isinstance(default, (dict, list)) or dataclasses.is_dataclass(default):
        kind = type(default)
        return dataclasses.field(default_factory=kind, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
