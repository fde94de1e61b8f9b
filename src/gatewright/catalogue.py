"""What there is to choose from, and what a choice costs, as plain data for the command line.

Parts are found by importing them, and torch with them, which takes seconds. Their listing is therefore kept in the
cache for as long as no file of this package changes.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from gatewright.cache import cache_root, package_state
from gatewright.errors import UserError, unknown
from gatewright.files import write_atomic
from gatewright.reading import read_json_object
from gatewright.registry import KINDS, PLUGINS, Entry, entries

if TYPE_CHECKING:
    from gatewright.config import Config

Catalogue = dict[str, list[dict[str, Any]]]


def catalogue(kinds: Iterable[str] | None = None) -> Catalogue:
    """Every registered part by kind: name, summary, fixed knobs, knobs and defaults. `UserError` for a wrong kind."""
    kinds = list(kinds or KINDS)
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of part", kind, KINDS)
    found = _remembered()
    return {kind: found[kind] for kind in kinds}


def describe_cost(config: Config) -> dict[str, Any]:
    """Name, parameters, FLOPs, cache and training memory of a configuration's model."""
    from gatewright.training.subject import subject_cost, subject_memory, subject_name

    return {
        "architecture": subject_name(config),
        **subject_cost(config).to_dict(),
        "training_memory_bytes": subject_memory(config),
    }


def _remembered() -> Catalogue:
    """All parts, from the cache if they were listed before; parts of other packages are always asked anew."""
    if entry_points(group=PLUGINS):
        return _listed()
    file, state = cache_root() / "parts.json", package_state()
    with suppress(UserError):
        kept = read_json_object(file)
        if kept.get("state") == state:
            found: Catalogue = kept["parts"]
            return found
    listed = _listed()
    with suppress(OSError):  # a cache that cannot be written costs the next call its time, and nothing else
        write_atomic(file, json.dumps({"state": state, "parts": listed}))
    return listed


def _listed() -> Catalogue:
    return {kind: [_describe(entry) for entry in entries(kind).values()] for kind in KINDS}


def _describe(entry: Entry) -> dict[str, Any]:
    knobs = {name: knob.default for name, knob in entry.knobs().items() if knob.default is not inspect.Parameter.empty}
    return {"name": entry.name, "summary": entry.summary, "fixed": dict(entry.fixed), "knobs": knobs}
