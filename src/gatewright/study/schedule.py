"""Which trials of a study may start now.

An arm is judged only after its learning rate is chosen. In a sequential study the seeds after the first look come one
by one, each only when the one before has ended, and only for arms that take part in an open comparison.
"""

from __future__ import annotations

from collections.abc import Collection

from gatewright.study.analysis import judge_family
from gatewright.study.gather import gather, trial_result
from gatewright.study.plan import FIRST_LOOK
from gatewright.study.statistics import open_pairs
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.study.trials import Plan
from gatewright.study.tuning import rate_choice, rate_choices, spared_trials


class Schedule:
    """The order of a study's trials, read off its runs, so that any start goes on where the last one ended."""

    def __init__(self, plan: Plan, folder: StudyFolder) -> None:
        self.plan, self.folder = plan, folder

    def open(self, trial: Trial) -> bool:
        """Whether the trial has no outcome yet. A diverged one has: it would diverge again."""
        state = trial_result(trial, self.folder, self.plan.study.judged_by).state
        return state not in ("finished", "diverged")

    def ready(self, begun: Collection[Trial] = (), running: Collection[Trial] = ()) -> list[Trial]:
        """The open trials that wait for nothing, in the order in which they are to be started.

        Trials in ``begun`` are not started again, and those of them that are not in ``running`` have failed: nothing
        waits for them.
        """
        study = self.plan.study
        choices = rate_choices(study, self.folder)
        waits = {choice.arm for choice in choices if choice.learning_rate is None}
        asked = {tried.trial for choice in choices for tried in choice.trials}
        trials = [trial for trial in self.plan.trials if trial in asked or not (trial.tuning or trial.arm in waits)]
        trials = [trial for trial in trials if trial in running or (trial not in begun and self.open(trial))]
        if study.sequential:
            pairs = [pair for pair in study.family if not waits.intersection(pair)]
            trials = self._up_to_the_next_look(trials, pairs)
        return [trial for trial in trials if trial not in running]

    def left(self) -> list[Trial]:
        """The open trials that may have to run; a sequential study may need fewer."""
        spared = spared_trials(self.plan.study, self.folder)
        return [trial for trial in self.plan.trials if trial not in spared and self.open(trial)]

    def learning_rate(self, trial: Trial) -> float | None:
        """The rate chosen for the trial's arm; None where the study does not choose."""
        choice = rate_choice(self.plan.study, self.folder, trial.arm)
        return choice.learning_rate if choice else None

    def _up_to_the_next_look(self, trials: list[Trial], pairs: list[tuple[str, str]]) -> list[Trial]:
        study = self.plan.study
        for look in range(FIRST_LOOK, len(study.seeds) + 1):
            seeds = study.seeds[:look]
            undecided = self._undecided(pairs, study.seeds[: look - 1]) if look > FIRST_LOOK else pairs
            arms = {arm for pair in undecided for arm in pair}
            due = [t for t in trials if t.tuning or (t.seed in seeds and t.arm in arms)]
            if due:
                return due
        return []

    def _undecided(self, pairs: list[tuple[str, str]], seeds: list[int]) -> list[tuple[str, str]]:
        """The comparisons that ``seeds`` leave open."""
        study = self.plan.study
        return open_pairs(pairs, judge_family(study, gather(study, self.folder), seeds))
