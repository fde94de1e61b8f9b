"""How far trials are, read from the end of their metrics files while these are still being written."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.run import METRICS
from gatewright.study.gather import State, trial_result
from gatewright.study.plan import Study
from gatewright.study.store import StudyFolder
from gatewright.study.trials import Trial, trials_of

TAIL_BYTES = 65_536


@dataclass(frozen=True)
class Progress:
    """The newest numbers of a trial; None where nothing was logged yet."""

    step: int = 0
    tokens: int = 0
    loss: float | None = None
    val_loss: float | None = None
    tokens_per_second: float | None = None


def read_progress(metrics_file: Path) -> Progress:
    """The newest training and evaluation record of ``metrics.jsonl``; reads its end only and tolerates a torn line."""
    try:
        with metrics_file.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return Progress()
    newest: dict[str, dict[str, Any]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:  # the first line may begin before the tail, the last may be half written
            continue
        if isinstance(record, dict):
            newest[str(record.get("kind"))] = record
    train, evaluation = newest.get("train", {}), newest.get("eval", {})
    return Progress(
        step=max(train.get("step", 0), evaluation.get("step", 0)),
        tokens=max(train.get("tokens", 0), evaluation.get("tokens", 0)),
        loss=train.get("loss"),
        val_loss=evaluation.get("val_loss"),
        tokens_per_second=train.get("tokens_per_second"),
    )


@dataclass(frozen=True)
class TrialRow:
    """A trial, how it stands and how far it is."""

    trial: Trial
    state: State
    progress: Progress
    max_steps: int
    tokens_per_step: int
    error: str | None = None

    @property
    def tokens_left(self) -> int:
        """Training tokens to the last step."""
        return (self.max_steps - self.progress.step) * self.tokens_per_step

    @property
    def seconds_left(self) -> float | None:
        """Time to the last step at the present speed."""
        rate = self.progress.tokens_per_second
        return self.tokens_left / rate if rate else None


def trial_rows(study: Study, folder: StudyFolder, running: Collection[Trial]) -> list[TrialRow]:
    """Every trial of the study in its folder; ``running`` are those that have a live process."""
    designs = folder.plan()["arms"]
    rows = []
    for trial in trials_of(study):
        design, result = designs[trial.arm], trial_result(trial, folder, study.judged_by)
        step = design["train.batch_size"] * design["train.grad_accumulation"] * design["model.block_size"]
        state: State = "running" if trial in running else result.state
        rows.append(
            TrialRow(
                trial, state, read_progress(folder.run(trial) / METRICS), design["train.max_steps"], step, result.error
            )
        )
    return rows
