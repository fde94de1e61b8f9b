"""What there is to choose from, and what a choice costs, as plain data for the command line and the docs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from gatewright.config import Config
from gatewright.registry import KINDS, Entry, entries
from gatewright.training.subject import subject_cost, subject_memory, subject_name


def catalogue(kinds: Iterable[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Every registered part by kind: name, summary, fixed knobs, knobs and defaults. `UserError` for a wrong kind."""
    return {kind: [_describe(entry) for entry in entries(kind).values()] for kind in (kinds or KINDS)}


def describe_cost(config: Config) -> dict[str, Any]:
    """Name, parameters, FLOPs, cache and training memory of a configuration's model."""
    return {
        "architecture": subject_name(config),
        **subject_cost(config).to_dict(),
        "training_memory_bytes": subject_memory(config),
    }


def _describe(entry: Entry) -> dict[str, Any]:
    knobs = {name: knob.default for name, knob in entry.knobs().items() if knob.default is not inspect.Parameter.empty}
    return {"name": entry.name, "summary": entry.summary, "fixed": dict(entry.fixed), "knobs": knobs}
