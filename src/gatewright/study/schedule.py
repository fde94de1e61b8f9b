"""Which trials of a study may start now: an arm is judged only after its learning rate is chosen."""

from __future__ import annotations

from gatewright.study.gather import trial_result
from gatewright.study.store import StudyFolder
from gatewright.study.trials import Plan, Trial
from gatewright.study.tuning import rate_choice


class Schedule:
    """The order of a study's trials, read off its runs, so that any start goes on where the last one ended."""

    def __init__(self, plan: Plan, folder: StudyFolder) -> None:
        self.plan, self.folder = plan, folder

    def open(self, trial: Trial) -> bool:
        """Whether the trial has no outcome yet. A diverged one has: it would diverge again."""
        state = trial_result(trial, self.folder, self.plan.study.judged_by).state
        return state not in ("finished", "diverged")

    def ready(self) -> list[Trial]:
        """The open trials that wait for nothing, in the order in which they are to be started."""
        study = self.plan.study
        choices = {arm: rate_choice(study, self.folder, arm) for arm in study.arms}
        waits = {arm for arm, choice in choices.items() if choice is not None and choice.learning_rate is None}
        trials = [trial for trial in self.plan.trials if trial.learning_rate is not None or trial.arm not in waits]
        return [trial for trial in trials if self.open(trial)]

    def learning_rate(self, trial: Trial) -> float | None:
        """The rate chosen for the trial's arm; None where the study does not choose."""
        choice = rate_choice(self.plan.study, self.folder, trial.arm)
        return choice.learning_rate if choice else None
