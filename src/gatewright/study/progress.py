"""How far trials are, read from the end of their metrics files while these are still being written."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gatewright.run import METRICS
from gatewright.study.gather import State, trial_result
from gatewright.study.plan import Study
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.study.trials import trials_of
from gatewright.study.tuning import spared_trials
from gatewright.watch.follow import Progress, read_progress


@dataclass(frozen=True)
class TrialRow:
    """A trial, how it stands and how far it is."""

    trial: Trial
    state: State
    progress: Progress
    max_steps: int
    tokens_per_step: int
    error: str | None = None
    lost: Sequence[str] = ()
    """how earlier attempts ended that were lost"""

    @property
    def tokens_left(self) -> int:
        """Training tokens to the last step."""
        done = self.progress
        per_step = done.tokens / done.step if done.step and done.tokens else self.tokens_per_step
        return round((self.max_steps - done.step) * per_step)

    @property
    def seconds_left(self) -> float | None:
        """Time to the last step at the present speed."""
        rate = self.progress.tokens_per_second
        return self.tokens_left / rate if rate else None


def trial_rows(study: Study, folder: StudyFolder, running: Collection[Trial]) -> list[TrialRow]:
    """Every trial of the study in its folder that may be needed; ``running`` are those that have a live process."""
    designs = folder.plan()["arms"]
    spared = spared_trials(study, folder)
    rows = []
    for trial in trials_of(study):
        if trial in spared:
            continue
        design, result = designs[trial.arm], trial_result(trial, folder, study.judged_by)
        step = design["train.batch_size"] * design["train.grad_accumulation"] * design["model.block_size"]
        over = result.state in ("finished", "diverged")
        state: State = "running" if trial in running and not over else result.state
        rows.append(
            TrialRow(
                trial,
                state,
                read_progress(folder.run(trial) / METRICS),
                design["train.max_steps"],
                step,
                result.error,
                result.lost,
            )
        )
    return rows
