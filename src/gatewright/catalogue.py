"""What there is to choose from, and what a choice costs, as plain data for the command line and the docs."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from gatewright.config import Config
from gatewright.model.build import build
from gatewright.model.cost import cost, training_memory
from gatewright.model.name import architecture_name
from gatewright.registry import KINDS, Entry, entries


def catalogue(kinds: Iterable[str] | None = None) -> dict[str, list[dict[str, Any]]]:
    """Every registered part by kind: name, summary, fixed knobs, knobs and defaults. `UserError` for a wrong kind."""
    return {kind: [_describe(entry) for entry in entries(kind).values()] for kind in (kinds or KINDS)}


def describe_cost(config: Config) -> dict[str, Any]:
    """Name, parameters, FLOPs, cache and training memory of a configuration's model."""
    model = build(config.model, device="meta")
    precision = config.train.precision
    return {
        "architecture": architecture_name(model),
        **cost(model).to_dict(),
        "training_memory_bytes": training_memory(config.model, config.train.batch_size, precision=precision),
    }


def _describe(entry: Entry) -> dict[str, Any]:
    knobs = {name: knob.default for name, knob in entry.knobs().items() if knob.default is not inspect.Parameter.empty}
    return {"name": entry.name, "summary": entry.summary, "fixed": dict(entry.fixed), "knobs": knobs}
