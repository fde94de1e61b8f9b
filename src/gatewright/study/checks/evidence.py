"""What the runs can bear: their number, the noise of the validation text, the learning rates, the baselines."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from gatewright.study.checks.remark import Remark, usable_runs
from gatewright.study.gather import ArmResult
from gatewright.study.plan import LEARNING_RATE, Study, override_key
from gatewright.study.statistics import Comparison
from gatewright.study.text_noise import text_error_of
from gatewright.study.tuning import RateChoice
from gatewright.study.wording import join, percent

TEXT_AGAINST_SEEDS = 0.5
"""From this share of the seeds' standard error on, the text's is not small any more (it widens an interval by 12 %)."""


def judgement(changes: list[tuple[str, Any, Any]]) -> Iterator[Remark]:
    """A way of judging that was changed after the first plan."""
    for key, was, now in changes:
        yield Remark(
            "warning", "judgement",
            f"The study was planned with {key} {was} and is judged with {now}: "
            "a choice made after runs existed can follow their outcome.",
        )  # fmt: skip


def seeds(study: Study, comparisons: list[Comparison]) -> Iterator[Remark]:
    """Too few seeds, differences without spread, a margin that was not stated."""
    for c in comparisons:
        if c.n < 3:
            yield Remark(
                "warning", "few_seeds",
                f"{c.arm} against {c.baseline} rests on {c.n} seed{'s' if c.n > 1 else ''}; "
                + ("one allows no verdict." if c.n == 1 else "with two, only a very large difference can be shown."),
            )  # fmt: skip
        elif c.note and not study.sequential:
            yield Remark("note", "no_spread", f"{c.arm} against {c.baseline}: {c.note}.")
    if comparisons and study.equivalence_margin is None:
        yield Remark(
            "note", "margin", "No equivalence margin was stated, so no arm can be found equivalent to the baseline."
        )


def validation_text(study: Study, arms: Mapping[str, ArmResult], comparisons: list[Comparison]) -> Iterator[Remark]:
    """How far the differences hang on the text that was scored, against how far they hang on the seeds."""
    if not any(arm.n for arm in arms.values()):
        return
    said = [run.environment.get("validation") or {} for run in usable_runs(arms)]
    scored = {validation["tokens"] for validation in said if validation.get("tokens")}
    if len(scored) > 1:
        yield Remark("warning", "evaluation_set", f"Runs were scored on unequal text: {join(_counts(scored))} tokens.")
        return
    size = f"{scored.pop():,} validation tokens" if scored else "validation text"
    shares: list[float] = []
    for c in comparisons:
        text = text_error_of(arms[c.arm], arms[c.baseline]) if study.judged_by.record_key == "val_loss" else None
        if text is None or not c.sd:
            continue
        shares.append(c.percent(text))
        seed = c.sd / math.sqrt(c.n)
        if text > TEXT_AGAINST_SEEDS * seed:
            yield Remark(
                "warning", "text_noise",
                f"{c.arm} against {c.baseline}: the standard error from the choice of validation text "
                f"({percent(c.percent(text), sign=False)}) is not small against that from the seeds "
                f"({percent(c.percent(seed), sign=False)}); the interval covers the seeds only. "
                "Raise train.eval_tokens.",
            )  # fmt: skip
    known = (
        f"other text of this kind and size would move a difference by a standard error of "
        f"{percent(max(shares), sign=False)} at most"
        if shares
        else "how far a difference depends on that text was not measured"
    )
    yield Remark("note", "evaluation", f"Every run is scored on the same {size}. Intervals cover the seeds; {known}.")


def _counts(numbers: set[int]) -> list[str]:
    return [f"{number:,}" for number in sorted(numbers)]


def gates(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    """Gates that never open, and studies in which every arm has one."""
    for arm in arms.values():
        finished = [t.run for t in arm.trials if t.run is not None and t.value is not None]
        alphas = [
            a for run in finished[:1] for record in run.train_records() for a in (record.get("alpha") or {}).values()
        ]
        if alphas and not any(alphas):
            yield Remark(
                "note", "dead_gate",
                f"{arm.name} keeps α = 0 in every layer: its gate branch is never used or trained, so that its "
                "parameter count is nominal.",
            )  # fmt: skip
    used = [arm for arm in arms.values() if arm.n]
    if used and all(arm.recorded("alpha") for arm in used):
        yield Remark(
            "warning", "no_plain_arm",
            "Every arm has an α gate. Without an arm that has none, such as a plain block or a GLU of the same size, "
            "the study cannot say whether such a gate helps at all.",
        )  # fmt: skip


def learning_rates(study: Study, arms: Mapping[str, ArmResult], choices: Mapping[str, RateChoice]) -> Iterator[Remark]:
    """Rates at the edge of their grid, arms that diverged at some or all of them, studies without a choice."""
    for choice in choices.values():
        if choice.decided and choice.learning_rate is None:
            yield Remark(
                "warning", "rate_diverged", f"{choice.arm} diverged at every learning rate of the grid; it has no runs."
            )
        elif choice.edge:
            yield Remark(
                "warning", "rate_edge",
                f"{choice.arm} was best at the {choice.edge} learning rate of the grid, {choice.learning_rate:g}: "
                f"a better one may lie beyond, and the arm may do better than is shown here. Widen learning_rates.",
            )  # fmt: skip
        lost = [f"{rate:g}" for rate, runs in choice.runs.items() if any(t.state == "diverged" for t in runs)]
        if lost and choice.learning_rate is not None:
            rates = join(lost)
            yield Remark("note", "rate_lost", f"{choice.arm} diverged in tuning at learning rate {rates}.")
        failed = [t.trial.name for t in choice.trials if t.state == "failed"]
        if failed:
            yield Remark(
                "warning", "tuning_failed",
                f"{join(failed)} failed, so that no learning rate could be chosen for {choice.arm}.",
            )  # fmt: skip
    own = any(override_key(o) == LEARNING_RATE for arm in study.arms.values() for o in arm.overrides)
    if not choices and not own and len([arm for arm in arms.values() if arm.n]) > 1:
        yield Remark(
            "note", "rate_shared",
            "All arms share one learning rate, which was not chosen for any of them here; designs differ in the rate "
            "that suits them. List learning_rates in the study file to have each arm choose.",
        )  # fmt: skip
