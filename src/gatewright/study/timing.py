"""How long a study will take: seconds per run from what was measured, trials laid out on the workers, and the memory.

Measuring is `gatewright.study.probe`'s work. Estimates are rough: the machine may have other things to do.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from typing import Any

from gatewright.cache import cache_root
from gatewright.config import Config
from gatewright.files import write_atomic
from gatewright.hardware.device import device_name, resolve_device
from gatewright.parts.alpha.parse import parse_alpha
from gatewright.study.trial import Trial
from gatewright.study.trials import Plan, design

TIMINGS = "timings.json"

NO_MATTER = (
    "max_steps", "learning_rate", "alpha_learning_rate", "schedule", "warmup_steps", "min_lr_ratio", "decay_fraction",
    "weight_decay", "beta1", "beta2", "epsilon", "log_every", "eval_every", "save_every", "keep_last",
    "checkpoint_at_end", "async_checkpoints",
)  # fmt: skip
"""Settings under ``train`` that change neither the time of a step nor that of an evaluation."""


@dataclass(frozen=True)
class Timing:
    """Seconds of a run, measured while as many others ran beside it as in the study."""

    startup: float
    """once a run: imports, data, compilation with a warm cache, the last checkpoint"""
    per_step: float
    per_evaluation: float
    measured: str = ""
    """the day"""

    def seconds(self, config: Config) -> float:
        """The whole run. Checkpoints on the way are not counted."""
        steps = config.train.max_steps
        return self.startup + steps * self.per_step + evaluations(config) * self.per_evaluation


def evaluations(config: Config) -> int:
    """Evaluations of a run: one every ``eval_every`` steps, and one after the last step."""
    return -(-config.train.max_steps // config.train.eval_every)


def estimate(plan: Plan, timings: Mapping[str, Timing], workers: int, trials: Iterable[Trial] | None = None) -> float:
    """Seconds until ``trials`` (default: all of the plan) are done, ``workers`` at a time, in the order they run.

    ``timings`` are by arm. Each worker takes the next trial as soon as it is free.
    """
    free = [0.0] * workers
    for trial in plan.trials if trials is None else trials:
        heapq.heappush(free, heapq.heappop(free) + timings[trial.arm].seconds(plan.configs[trial.arm]))
    return max(free)


def families(plan: Plan) -> dict[str, list[str]]:
    """The arms by design as far as it decides how long a run takes; arms of one family are measured once."""
    found: dict[str, list[str]] = {}
    for arm, config in plan.configs.items():
        found.setdefault(_family(config), []).append(arm)
    return found


class TimingStore:
    """Timings that were measured on this machine, by family, workers, threads and versions, in the cache folder."""

    def __init__(self, workers: int, threads: int) -> None:
        self.path = cache_root() / TIMINGS
        self.workers, self.threads = workers, threads

    def get(self, family: str, config: Config) -> Timing | None:
        """What was measured today of a family; None if nothing was. ``config`` is that of any arm in it.

        Older measurements do not count: the machine may have been busy then, or be busy now.
        """
        values = self._read().get(self._key(family, config))
        timing = Timing(**values) if values else None
        return timing if timing is not None and timing.measured == today() else None

    def put(self, family: str, config: Config, timing: Timing) -> None:
        """Remember; a cache that cannot be written costs the next plan a measurement, nothing else."""
        try:
            content = {**self._read(), self._key(family, config): asdict(timing)}
            write_atomic(self.path, json.dumps(content, indent=1, allow_nan=False))
        except OSError:
            return

    def _key(self, family: str, config: Config) -> str:
        machine = (
            device_name(resolve_device(config.device)),
            platform.node(),
            f"{self.workers} x {config.train.threads or self.threads} threads",
            f"torch {version('torch')}",
            f"gatewright {version('gatewright')}",
        )
        return " | ".join((*machine, hashlib.sha256(family.encode()).hexdigest()[:16]))

    def _read(self) -> dict[str, dict[str, Any]]:
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        fields = set(Timing.__dataclass_fields__)
        if not isinstance(known, dict):
            return {}
        return {key: value for key, value in known.items() if isinstance(value, dict) and set(value) == fields}


def remembered(plan: Plan, workers: int, threads: int) -> dict[str, Timing] | None:
    """The timing of every arm, as far as earlier plans measured it on this machine; None unless all are known."""
    store = TimingStore(workers, threads)
    found = {}
    for family, arms in families(plan).items():
        timing = store.get(family, plan.configs[arms[0]])
        if timing is None:
            return None
        found.update(dict.fromkeys(arms, timing))
    return found


def today() -> str:
    """The date of a measurement."""
    return date.today().isoformat()


def _family(config: Config) -> str:
    values = design(config)
    for name in NO_MATTER:
        del values[f"train.{name}"]
    if config.model.alpha is not None:
        for key in [key for key in values if key.startswith("model.alpha")]:
            del values[key]
        values["model.alpha"] = _alpha_family(config.model.alpha)
    return json.dumps(values, sort_keys=True, default=str)


def _alpha_family(spec: Any) -> Any:
    """A fixed α costs the same whatever its number."""
    if isinstance(spec, list):
        return [_alpha_family(layer) for layer in spec]
    parsed = parse_alpha(spec)
    return {"name": "static"} if parsed["name"] == "static" else parsed
