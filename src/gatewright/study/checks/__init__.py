"""Checks on the comparison itself: what stands between a study's numbers and a fair claim."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.study.checks import conditions, evidence, reasoning, runs
from gatewright.study.checks.conditions import FLOPS_TOLERANCE, PARAMETERS_TOLERANCE
from gatewright.study.checks.remark import Remark
from gatewright.study.gather import ArmResult
from gatewright.study.kind import is_rewarded, learns_task
from gatewright.study.plan import Study
from gatewright.study.statistics import Comparison
from gatewright.study.tuning import RateChoice

__all__ = ["FLOPS_TOLERANCE", "PARAMETERS_TOLERANCE", "Remark", "remarks"]


def remarks(
    study: Study,
    arms: Mapping[str, ArmResult],
    comparisons: list[Comparison],
    designs: Mapping[str, Mapping[str, Any]],
    choices: Mapping[str, RateChoice],
    judgement_changes: list[tuple[str, Any, Any]],
) -> list[Remark]:
    """Everything to be said about the study before its verdicts, warnings first.

    ``designs`` are the arms' resolved ones, ``choices`` how their learning rates were chosen where that was asked for,
    ``judgement_changes`` what about the way of judging differs from the first plan.
    """
    task = learns_task(designs)
    found = [
        *runs.incomplete(study, arms, comparisons),
        *conditions.size(study, arms),
        *conditions.conditions(study, designs),
        *evidence.learning_rates(study, arms, choices),
        *runs.budget(arms, ("steps",) if task else ("steps", "tokens")),  # answers differ in length
        *runs.data(arms, task),
        *runs.records(arms),
        *evidence.judgement(judgement_changes),
        *evidence.seeds(study, comparisons),
        *runs.machines(arms),
        *runs.retried(arms, choices),
        *([] if is_rewarded(designs) else evidence.gates(arms)),  # those of the model that all arms go on from
        *reasoning.controls(designs),
        *(reasoning.questions(study, arms) if task else evidence.validation_text(study, arms, comparisons)),
    ]
    return sorted(found, key=lambda remark: remark.level != "warning")
