"""``plan.json`` of a study's folder, read: what was planned there. Importing this costs little."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gatewright.errors import UserError
from gatewright.reading import misfit, read_json_object
from gatewright.study.trial import MULTIPLE, SAFE_NAME

FORM = {"arms": dict, "seeds": list, "tuning": {"learning_rates?": list, "tuning_seeds?": list}, "judged_by": dict}
SIZES: Mapping[str, type | tuple[type, ...]] = {
    "train.batch_size": int, "train.grad_accumulation": int, "train.max_steps": int, "train.eval_every": int,
    "model.block_size": int, "train.learning_rate": (int, float),
}  # fmt: skip
"""Settings of a design that are reckoned with: they have to be there, and positive."""


def read_plan(file: Path, *, designs: bool = False) -> dict[str, Any]:
    """The recorded plan: ``arms`` (designs by arm), ``seeds``, ``tuning``, ``judged_by`` (as first planned).

    Raises `UserError` for a file that no study has written; ``designs``: also where those are not sound.
    """
    try:
        plan = {"tuning": {}, "judged_by": {}} | read_json_object(file)
        if problem := _problem(plan) or (_problem_of_designs(plan["arms"]) if designs else None):
            raise UserError(problem)
    except UserError as error:
        reason = str(error).removeprefix(f"cannot read {file}: ")
        raise UserError(f"{file} cannot be read ({reason}); the study's folder is damaged") from error
    return plan


def _problem(plan: Mapping[str, Any]) -> str | None:
    if (wrong := misfit(plan, FORM)) is not None:
        return f"{wrong} is missing or not what it should be"
    rates, tuning_seeds = plan["tuning"].get("learning_rates") or [], plan["tuning"].get("tuning_seeds") or []
    if not all(type(seed) is int and seed >= 0 for seed in (*plan["seeds"], *tuning_seeds)):
        return "a seed is no number"
    if not all(isinstance(rate, float) or (isinstance(rate, str) and MULTIPLE.fullmatch(rate)) for rate in rates):
        return "a learning rate is no number"
    return next((f"{arm[:80]!r} is no name of an arm" for arm in plan["arms"] if not SAFE_NAME.fullmatch(arm)), None)


def _problem_of_designs(arms: Mapping[str, Any]) -> str | None:
    for arm, design in arms.items():
        if not isinstance(design, dict):
            return f"{arm} is no design"
        for key, kind in SIZES.items():
            if not isinstance(design.get(key), kind) or not design[key] > 0:
                return f"{arm}: {key} is not what it should be"
    return None
