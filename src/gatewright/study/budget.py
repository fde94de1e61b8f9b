"""Fitting a study into a given time, in a way that can be said in a sentence.

Seeds carry the verdict and go last. The steps of every run are cut first, down to 40 % of the file's; then seeds, down
to three (a sequential study: four, one beyond its first look); then steps again, down to 10 %. Nothing ever exceeds
what the file asks for. What is chosen is the largest study that this order allows, within 90 % of the time, as
estimates are rough.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.config import Config
from gatewright.errors import UserError
from gatewright.study import noise as noises
from gatewright.study.libraries import pd
from gatewright.study.noise import Noise
from gatewright.study.plan import FIRST_LOOK, Study, override_key
from gatewright.study.timing import Timing, estimate, evaluations
from gatewright.study.trials import Plan
from gatewright.study.wording import duration

FLOOR, LAST_FLOOR = 0.4, 0.1
"""Shares of the file's steps: what is kept before seeds go, and what is always kept."""

FEWEST_SEEDS = 3
SHARE = 0.9
EVALUATIONS, RECORDS = 5, 20
"""A shortened run is evaluated and logged as often as this, unless the file asks for fewer."""


@dataclass(frozen=True)
class Fitted:
    """A study that fits into a budget."""

    plan: Plan
    seconds: float
    """estimated time of the whole study"""
    sentence: str
    """what was chosen, why, and what it can show"""

    @property
    def study(self) -> Study:
        """The study, with what was chosen among its base's overrides and its seeds."""
        return self.plan.study


def parse_duration(text: str, what: str = "budget") -> float:
    """Seconds of ``60m``, ``2h``, ``90s``, ``1h30m`` or whatever else pandas reads; `UserError` for anything else."""
    problem = f"{what}={text}: expected a time such as 60m, 2h, 90s or 1h30m"
    try:
        seconds = float(pd.Timedelta(text.strip().lower()).total_seconds())
    except ValueError as error:
        raise UserError(problem) from error
    if text.strip().replace(".", "", 1).isdigit():
        raise UserError(f"{problem}, with its unit")
    if not seconds >= 1:
        raise UserError(problem)
    return seconds


def fit(
    plan: Plan,
    budget: float,
    timings: Mapping[str, Timing],
    workers: int,
    noise: Noise | None = None,
    *,
    sequential: bool = False,
) -> Fitted:
    """The largest study after ``plan`` that takes ``budget`` seconds at most; see the module for the order.

    ``timings`` are by arm, measured with as many ``workers``; ``noise`` serves the sentence. Where an arm sets its own
    ``train.max_steps`` the steps are not to be changed for all, and only seeds are chosen. Raises `UserError`, with the
    smallest budget that would do, if nothing fits.
    """
    study, chosen = plan.study, plan
    if estimate(plan, timings, workers) > budget:
        stages = (_largest(plan, *stage, SHARE * budget, timings, workers) for stage in _stages(plan))
        found = next((smaller for smaller in stages if smaller is not None), None)
        if found is None:
            *_, (seeds, _, steps) = _stages(plan)
            least = shortened(plan, steps, seeds)
            seconds = estimate(least, timings, workers)
            raise UserError(
                f"budget: {duration(budget)} is too short; the least that study '{study.name}' is cut down to "
                f"({_size(least, plan)}) takes about {duration(seconds)}: --budget {math.ceil(seconds / SHARE / 60)}m"
            )
        chosen = found
    seconds = estimate(chosen, timings, workers)
    shows = noises.sentence(noise, len(chosen.study.seeds), len(study.family), sequential=sequential)
    return Fitted(chosen, seconds, f"{_choice(plan, chosen, seconds, budget)}; {shows}")


def shortened(plan: Plan, steps: int, seeds: int) -> Plan:
    """The plan with the first ``seeds`` seeds and runs of ``steps`` steps.

    The cadences of evaluations and records are kept, unless too few would be left of them; an explicit warm-up keeps
    its share. What is changed goes behind the base's overrides, so that an arm's own stay.
    """
    study = dataclasses.replace(plan.study, seeds=plan.study.seeds[:seeds])
    changes = _changes(plan.configs[study.baseline], steps)
    if not changes:
        return Plan(study, plan.configs)
    base = [override for override in study.base if override_key(override) not in {f"train.{key}" for key in changes}]
    study = dataclasses.replace(study, base=[*base, *(f"train.{key}={value}" for key, value in changes.items())])
    configs = {}
    for arm, config in plan.configs.items():
        train = dataclasses.replace(config.train, **{k: v for k, v in changes.items() if not _sets(study, arm, k)})
        configs[arm] = dataclasses.replace(config, train=train)
    return Plan(study, configs)


def _stages(plan: Plan) -> list[tuple[int, int, int]]:
    """Seeds, and the most and the fewest steps, in the order of preference."""
    seeds, full = len(plan.study.seeds), _steps(plan)
    floor, last = (full, full) if _fixed(plan) else (math.ceil(FLOOR * full), math.ceil(LAST_FLOOR * full))
    fewest = min(FIRST_LOOK + 1 if plan.study.sequential else FEWEST_SEEDS, seeds)
    return [*((number, full, floor) for number in range(seeds, fewest - 1, -1)), (fewest, floor, last)]


def _largest(
    plan: Plan, seeds: int, most: int, fewest: int, seconds: float, timings: Mapping[str, Timing], workers: int
) -> Plan | None:
    """The plan with the most steps that takes ``seconds`` at most, to a hundredth of its steps; None if none does."""

    def fits(steps: int) -> bool:
        return estimate(shortened(plan, steps, seeds), timings, workers) <= seconds

    if not fits(fewest):
        return None
    stride = max(1, _steps(plan) // 100)
    return shortened(plan, next(steps for steps in [*range(most, fewest, -stride), fewest] if fits(steps)), seeds)


def _changes(config: Config, steps: int) -> dict[str, Any]:
    train = config.train
    if steps == train.max_steps:
        return {}
    changes: dict[str, Any] = {"max_steps": steps}
    for key, least, now in (
        ("eval_every", EVALUATIONS, evaluations(config)),
        ("log_every", RECORDS, train.max_steps // train.log_every),
    ):
        kept = max(1, min(least, now))
        if steps // getattr(train, key) < kept:
            changes[key] = max(1, steps // kept)
    if train.warmup_steps is not None:
        changes["warmup_steps"] = train.warmup_steps * steps // train.max_steps
    return changes


def _steps(plan: Plan) -> int:
    return plan.configs[plan.study.baseline].train.max_steps


def _fixed(plan: Plan) -> bool:
    """Whether an arm sets its own steps, which no override of the base changes."""
    return any(_sets(plan.study, arm, "max_steps") for arm in plan.study.arms)


def _sets(study: Study, arm: str, key: str) -> bool:
    return any(override_key(override) == f"train.{key}" for override in study.arms[arm].overrides)


def _choice(plan: Plan, chosen: Plan, seconds: float, budget: float) -> str:
    """What was chosen, and why."""
    takes = f"about {duration(seconds)} of {duration(budget)}"
    if chosen is plan:
        return f"the plan fits as it is: {takes}"
    if _fixed(plan):
        why = "an arm sets its own train.max_steps, so that only seeds could be left out"
    elif _steps(chosen) < math.ceil(FLOOR * _steps(plan)):
        why = "runs this short may rank the arms otherwise than whole ones"
    elif len(chosen.study.seeds) < len(plan.study.seeds):
        why = f"more seeds would not fit with even {100 * FLOOR:.0f} % of the steps"
    else:
        why = "steps are cut before seeds, which carry the verdict"
    return f"{_size(chosen, plan)}, to take {takes}: {why}"


def _size(chosen: Plan, plan: Plan) -> str:
    """``4 of 8 seeds and 250 of 500 steps``."""
    numbers = ((len(chosen.study.seeds), len(plan.study.seeds), "seeds"), (_steps(chosen), _steps(plan), "steps"))
    return " and ".join(f"all {m:,} {w}" if n == m else f"{n:,} of {m:,} {w}" for n, m, w in numbers)
