"""Runs that are missing, or that were not all made alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gatewright.errors import UserError
from gatewright.run import METRICS
from gatewright.study.checks.remark import Remark, usable_runs
from gatewright.study.gather import ArmResult
from gatewright.study.plan import Study
from gatewright.study.statistics import Comparison, open_pairs
from gatewright.study.trials import flatten
from gatewright.study.tuning import RateChoice
from gatewright.study.wording import join, repeated
from gatewright.training.metrics import damaged_lines

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


def incomplete(study: Study, arms: Mapping[str, ArmResult], comparisons: list[Comparison]) -> Iterator[Remark]:
    """Runs that diverged, failed or are not finished."""
    wanted = open_pairs(study.family, comparisons) if study.sequential else study.family
    undecided = {arm for pair in wanted for arm in pair}
    spared = 0
    for arm in arms.values():
        for trial in arm.trials:
            if trial.state == "waiting" and arm.name not in undecided:
                spared += 1
                continue
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
    if spared:
        yield Remark(
            "note", "spared",
            f"{spared} runs were not needed: the seeds before them settled the verdicts of their arms (the study is "
            "sequential).",
        )  # fmt: skip
    if not arms[study.baseline].n:
        yield Remark(
            "warning", "baseline", f"The baseline {study.baseline} has no finished run: nothing can be compared yet."
        )


def retried(arms: Mapping[str, ArmResult], choices: Mapping[str, RateChoice]) -> Iterator[Remark]:
    """Runs whose process was killed or lost, and that were started again."""
    everyone = [t for arm in arms.values() for t in arm.trials]
    lost = [t for t in (*(t for choice in choices.values() for t in choice.trials), *everyone) if t.lost]
    if lost:
        listed = join([f"{t.trial.name} ({repeated(t.lost)})" for t in lost])
        yield Remark("note", "retried", f"Started again, from their last checkpoints, after they were lost: {listed}.")


def budget(arms: Mapping[str, ArmResult], keys: Sequence[str]) -> Iterator[Remark]:
    """Unequal ``steps`` or ``tokens``, whichever of them ``keys`` names."""
    for key in keys:
        seen = {t.summary[key] for arm in arms.values() for t in arm.trials if t.value is not None and key in t.summary}
        if len(seen) > 1:
            listed = ", ".join(f"{value:,}" for value in sorted(seen))
            yield Remark("warning", key, f"Finished runs were trained on unequal {key}: {listed}.")


def machines(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    """Unequal hardware, software or precision."""
    records = [flatten(run.environment) for run in usable_runs(arms)]
    keys = sorted({key for record in records for key in record if key in MACHINE or key.startswith("packages.")})
    for key in keys:
        seen = sorted({str(record.get(key)) for record in records})
        if len(seen) > 1:
            text = f"Runs were not all made in one environment: {key} is {join(seen)}."
            unequal = key == "precision"
            yield Remark("warning" if unequal else "note", "precision" if unequal else "environment", text)


def records(arms: Mapping[str, ArmResult]) -> Iterator[Remark]:
    """What runs recorded and nobody can read any more, besides the files that a result rests on."""
    for run in usable_runs(arms):
        try:
            run.evaluated_sequences()
        except UserError as damage:
            yield Remark("note", "records", f"{damage}: how its loss depends on the text is not known.")
        if lost := damaged_lines(run.path / METRICS):
            lines = f"{lost} damaged line{'s' if lost > 1 else ''}"
            yield Remark("note", "records", f"{run.path / METRICS} has {lines}: its curves lack as many points.")


def data(arms: Mapping[str, ArmResult], task: bool) -> Iterator[Remark]:
    """Text, or a ``task``'s questions, that changed between runs."""
    contents = {str(data.get("content_sha256")) for run in usable_runs(arms) if (data := run.environment.get("data"))}
    if len(contents) > 1:
        what = "questions: the task" if task else "text: the corpus"
        yield Remark("warning", "data", f"Runs were trained on different {what} changed between them.")
