"""Collecting a study's runs: one result per trial, one per arm, ready to be paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from gatewright.errors import UserError
from gatewright.reading import parse_json, read_note
from gatewright.run import Run
from gatewright.study.metric import Metric
from gatewright.study.plan import Study
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial

State = Literal["waiting", "running", "finished", "diverged", "failed", "interrupted"]


@dataclass(frozen=True)
class TrialResult:
    """What one trial left behind. ``value`` is the study's metric, None unless the trial finished with a finite one."""

    trial: Trial
    state: State
    value: float | None = None
    error: str | None = None
    summary: Mapping[str, Any] = field(default_factory=dict)
    run: Run | None = None
    lost: Sequence[str] = ()
    """how earlier attempts ended that were lost and followed by another"""


@dataclass(frozen=True)
class ArmResult:
    """An arm and its trials, in the order of the study's seeds."""

    name: str
    about: str
    overrides: list[str]
    trials: list[TrialResult]

    @property
    def values(self) -> dict[int, float]:
        """The metric by seed, for the seeds that have one."""
        return {t.trial.seed: t.value for t in self.trials if t.value is not None}

    @property
    def n(self) -> int:
        """Seeds with a value."""
        return len(self.values)

    @property
    def mean(self) -> float | None:
        """Mean over seeds."""
        return float(np.mean(list(self.values.values()))) if self.n else None

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds (n − 1)."""
        return float(np.std(list(self.values.values()), ddof=1)) if self.n > 1 else None

    def mean_difference(self, other: ArmResult) -> float | None:
        """The mean of the differences from ``other`` over the seeds that both have; None without any."""
        shared = [self.values[seed] - other.values[seed] for seed in self.values if seed in other.values]
        return float(np.mean(shared)) if shared else None

    @property
    def tokens_per_second(self) -> float | None:
        """Median over runs; trials share the machine, so this is a hint and not a benchmark."""
        speeds = [t.summary["tokens_per_second"] for t in self.trials if t.summary.get("tokens_per_second")]
        return float(median(speeds)) if speeds else None

    def recorded(self, key: str) -> Any:
        """A summary value that all runs of an arm share, such as ``parameters``; None before any run has it."""
        return next((t.summary[key] for t in self.trials if t.summary.get(key) is not None), None)


def gather(study: Study, folder: StudyFolder) -> dict[str, ArmResult]:
    """Every arm's results as they stand now, by name, in the study's order."""
    return {
        name: ArmResult(
            name,
            arm.about,
            list(arm.overrides),
            [trial_result(Trial(name, seed), folder, study.judged_by) for seed in study.seeds],
        )
        for name, arm in study.arms.items()
    }


def trial_result(trial: Trial, folder: StudyFolder, metric: Metric) -> TrialResult:
    """What the trial's run directory holds, and why its process ended, where that is all there is."""
    path, error_file, lost = folder.run(trial), folder.error_file(trial), _lost(folder.attempts_file(trial))
    error = read_note(error_file)
    if not (path / "config.yaml").is_file():
        return TrialResult(trial, "failed" if error else "waiting", error=error, lost=lost)
    return replace(run_result(trial, Run(path), metric, error), lost=lost)


def _lost(file: Path) -> list[str]:
    """How lost attempts ended; a torn line counts for one."""
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        try:
            found.append(str(parse_json(line)["how"]))
        except (ValueError, TypeError, KeyError):
            found.append("unknown")
    return found


def run_result(trial: Trial, run: Run, metric: Metric, error: str | None = None) -> TrialResult:
    """What a run directory says as the result of ``trial``; ``error`` is why its process ended, where that is known.

    A run whose files are damaged has failed: started again, it is mended from its last checkpoint.
    """
    try:
        summary, _ = run.summary or {}, run.environment
    except UserError as damage:
        return TrialResult(trial, "failed", error=str(damage))
    if run.status == "diverged":
        return TrialResult(trial, "diverged", error=summary.get("error"), summary=summary, run=run)
    if run.status != "finished":
        state: State = "failed" if error or run.status == "failed" else "interrupted"
        return TrialResult(trial, state, error=error or summary.get("error"), summary=summary, run=run)
    value = summary.get(metric.summary_key)
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return TrialResult(trial, "diverged", error=f"its {metric.label} is not a number", summary=summary, run=run)
    return TrialResult(trial, "finished", float(value), summary=summary, run=run)
