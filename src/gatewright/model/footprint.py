"""What training a model takes, counted once and remembered."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version

from gatewright.cache import cache_root, package_state
from gatewright.config.model import ModelConfig
from gatewright.errors import UserError
from gatewright.files import write_atomic
from gatewright.model.cost import training_memory
from gatewright.reading import read_json_object
from gatewright.registry import KINDS, entries

KEPT = 500


def remembered_memory(model: ModelConfig, batch_size: int, precision: str) -> dict[str, int]:
    """`training_memory`, from the cache if it was counted before.

    Counting it runs the model on fake tensors, which takes seconds where starting a run takes seconds too.
    What has parts from elsewhere is always counted anew.
    """
    if _has_foreign_parts():
        return training_memory(model, batch_size, precision=precision)
    facts = [asdict(model), batch_size, precision, version("torch"), package_state()]
    key = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()
    file, known = cache_root() / "memory.json", {}
    with suppress(UserError):
        known = read_json_object(file)
        found = known.get(key)
        if isinstance(found, dict) and all(isinstance(number, int) for number in found.values()):
            return found
    counted = training_memory(model, batch_size, precision=precision)
    with suppress(OSError):  # a cache that cannot be written costs the next run its time, and nothing else
        latest = dict(list(known.items())[1 - KEPT :])
        write_atomic(file, json.dumps({**latest, key: counted}))
    return counted


def _has_foreign_parts() -> bool:
    parts = (entry.target for kind in KINDS if kind != "similarity" for entry in entries(kind).values())
    return any(not part.__module__.startswith("gatewright.") for part in parts)
