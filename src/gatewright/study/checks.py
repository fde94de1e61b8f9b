"""Checks on the comparison itself: what stands between a study's numbers and a fair claim."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gatewright.run import Run
from gatewright.study.gather import ArmResult
from gatewright.study.plan import Study
from gatewright.study.statistics import Comparison
from gatewright.study.trials import differences, flatten
from gatewright.study.wording import join, percent

PARAMETERS_TOLERANCE = 0.01
FLOPS_TOLERANCE = 0.02

CONDITIONS = {
    "train.max_steps": "the number of steps",
    "train.batch_size": "the micro-batch",
    "train.grad_accumulation": "gradient accumulation",
    "model.block_size": "the sequence length",
    "train.precision": "precision",
    "train.compile": "compilation",
    "train.eval_tokens": "the evaluation set",
    "parallel.mode": "the parallel mode",
}
"""Settings that equal conditions demand to be equal, besides everything under ``data``."""

MACHINE = (
    "python",
    "device",
    "device_name",
    "precision",
    "float32_matmul_precision",
    "threads",
    "git.commit",
    "git.dirty",
)
"""What of a run's environment can move its numbers, besides the versions of packages."""


@dataclass(frozen=True)
class Remark:
    """A warning (the claim may not hold) or a note (the reader should know), with a stable code."""

    level: Literal["warning", "note"]
    code: str
    text: str


def remarks(
    study: Study,
    arms: Mapping[str, ArmResult],
    comparisons: list[Comparison],
    recorded: Mapping[str, Any],
    judgement_changes: list[tuple[str, Any, Any]],
) -> list[Remark]:
    """Everything to be said about the study before its verdicts, warnings first."""
    found = [
        *_incomplete(study, arms),
        *_size(study, arms),
        *_conditions(study, recorded["arms"]),
        *_budget(arms),
        *_data(arms),
        *_judgement(judgement_changes),
        *_evidence(study, arms, comparisons),
        *_machines(arms),
        *_dead_gates(arms),
        *_evaluation(arms),
    ]
    return sorted(found, key=lambda remark: remark.level != "warning")


def _incomplete(study: Study, arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    for arm in arms.values():
        for trial in arm.trials:
            name = f"{arm.name}, seed {trial.trial.seed}"
            because = f": {trial.error}" if trial.error else ""
            if trial.state == "diverged":
                yield Remark(
                    "warning", "diverged",
                    f"{name} diverged{because}. It is left out, which flatters the arm: its mean is over the runs that "
                    "survived.",
                )  # fmt: skip
            elif trial.state == "failed":
                yield Remark(
                    "warning", "failed", f"{name} failed{because}. Its seed is left out of this arm's comparison."
                )
            elif trial.state != "finished":
                yield Remark(
                    "warning", "missing", f"{name} is not finished ({trial.state}). Its seed is left out for now."
                )
    if not arms[study.baseline].n:
        yield Remark(
            "warning", "baseline", f"The baseline {study.baseline} has no finished run: nothing can be compared yet."
        )


def _size(study: Study, arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    baseline = arms[study.baseline]
    for key, label, tolerance in (
        ("parameters", "parameters", PARAMETERS_TOLERANCE),
        ("flops_per_token", "training FLOPs per token", FLOPS_TOLERANCE),
    ):
        reference = baseline.recorded(key)
        for name in study.challengers:
            own = arms[name].recorded(key)
            if own and reference and abs(own / reference - 1) > tolerance:
                more = "more" if own > reference else "fewer"
                yield Remark(
                    "warning", key,
                    f"{name} has {percent(100 * abs(own / reference - 1), sign=False)} {more} {label} than "
                    f"{study.baseline}; a difference may be the size's and not the design's.",
                )  # fmt: skip


def _conditions(study: Study, designs: Mapping[str, Mapping[str, Any]]) -> Iterator[Remark]:
    baseline = dict(designs[study.baseline])
    for name in study.challengers:
        changed = differences(baseline, dict(designs[name]))
        unequal = [c for c in changed if c[0] in CONDITIONS or (c[0].startswith("data.") and c[0] != "data.cache_dir")]
        for key, was, now in unequal:
            what = CONDITIONS.get(key, f"the data ({key})")
            yield Remark(
                "warning", "conditions",
                f"{name} and {study.baseline} differ in {what}: {key} is {now} against {was}. "
                "Conditions are not equal.",
            )  # fmt: skip
        tuned = [
            f"{key} {now} against {was}"
            for key, was, now in changed
            if key.startswith("train.") and (key, was, now) not in unequal
        ]
        if tuned:
            yield Remark(
                "note", "training", f"{name} is trained differently from {study.baseline}: {'; '.join(tuned)}."
            )


def _budget(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    for key in ("steps", "tokens"):
        seen = {t.summary[key] for arm in arms.values() for t in arm.trials if t.value is not None and key in t.summary}
        if len(seen) > 1:
            listed = ", ".join(f"{value:,}" for value in sorted(seen))
            yield Remark("warning", key, f"Finished runs were trained on unequal {key}: {listed}.")


def _judgement(changes: list[tuple[str, Any, Any]]) -> Iterator[Remark]:
    for key, was, now in changes:
        yield Remark(
            "warning", "judgement",
            f"The study was planned with {key} {was} and is judged with {now}: "
            "a choice made after runs existed can follow their outcome.",
        )  # fmt: skip


def _evidence(study: Study, arms: Mapping[str, ArmResult], comparisons: list[Comparison]) -> Iterator[Remark]:
    for c in comparisons:
        if c.n < 3:
            yield Remark(
                "warning", "few_seeds",
                f"{c.arm} against {c.baseline} rests on {c.n} seed{'s' if c.n > 1 else ''}; "
                + ("one allows no verdict." if c.n == 1 else "with two, only a very large difference can be shown."),
            )  # fmt: skip
        elif c.note:
            yield Remark("note", "no_spread", f"{c.arm} against {c.baseline}: {c.note}.")
    if comparisons and study.equivalence_margin is None:
        yield Remark(
            "note", "margin", "No equivalence margin was stated, so no arm can be found equivalent to the baseline."
        )


def _machines(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    records = [flatten(run.environment) for run in _usable(arms)]
    keys = sorted({key for record in records for key in record if key in MACHINE or key.startswith("packages.")})
    for key in keys:
        seen = sorted({str(record.get(key)) for record in records})
        if len(seen) > 1:
            text = f"Runs were not all made in one environment: {key} is {join(seen)}."
            unequal = key == "precision"
            yield Remark("warning" if unequal else "note", "precision" if unequal else "environment", text)


def _dead_gates(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
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


def _data(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    contents = {str(data["content_sha256"]) for run in _usable(arms) if (data := run.environment.get("data"))}
    if len(contents) > 1:
        yield Remark("warning", "data", "Runs were trained on different text: the corpus changed between them.")


def _evaluation(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    scored = {run.environment["validation"]["tokens"] for run in _usable(arms) if run.environment.get("validation")}
    if any(arm.n for arm in arms.values()):
        size = f"{scored.pop():,} validation tokens" if len(scored) == 1 else "validation text"
        yield Remark(
            "note", "evaluation",
            f"Every run is scored on the same {size}. Intervals cover the seeds; how far a difference depends on that "
            "text was not measured.",
        )  # fmt: skip


def _usable(arms: Mapping[str, ArmResult]) -> list[Run]:
    return [t.run for arm in arms.values() for t in arm.trials if t.run is not None and t.value is not None]
