"""Choosing each arm's learning rate: every rate is tried on seeds of its own, which no verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from gatewright.study.gather import TrialResult, trial_result
from gatewright.study.plan import LEARNING_RATE, Study, resolve_rate
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.study.trials import tuning_trials


@dataclass(frozen=True)
class RateChoice:
    """How an arm's learning rate is chosen among those of the study."""

    arm: str
    runs: dict[float, list[TrialResult]]
    """by learning rate, from the lowest to the highest"""
    lower_is_better: bool

    @property
    def trials(self) -> list[TrialResult]:
        """Its runs at all rates."""
        return [t for runs in self.runs.values() for t in runs]

    @property
    def values(self) -> dict[float, list[float]]:
        """The metric of every finished run by learning rate."""
        return {rate: [t.value for t in runs if t.value is not None] for rate, runs in self.runs.items()}

    @property
    def means(self) -> dict[float, float]:
        """The mean over tuning seeds by rate, for the rates at which every seed finished: one that diverges is out."""
        return {rate: fmean(values) for rate, values in self.values.items() if len(values) == len(self.runs[rate])}

    @property
    def decided(self) -> bool:
        """Whether all its runs have ended, by finishing or by diverging; one that failed will be tried again."""
        return all(t.state in ("finished", "diverged") for t in self.trials)

    @property
    def learning_rate(self) -> float | None:
        """The rate with the best mean; None while runs are missing, or if the arm diverged at every rate."""
        if not (self.decided and self.means):
            return None
        sign = 1 if self.lower_is_better else -1
        return min(self.means, key=lambda rate: sign * self.means[rate])

    @property
    def edge(self) -> Literal["lowest", "highest"] | None:
        """Whether the chosen rate is the last one of the grid on a side, beyond which a better one may lie."""
        rates = list(self.runs)
        edges: dict[float | None, Literal["lowest", "highest"]] = {rates[0]: "lowest", rates[-1]: "highest"}
        return edges.get(self.learning_rate)


def rate_choice(study: Study, folder: StudyFolder, arm: str) -> RateChoice | None:
    """The arm's choice as its runs stand now; None where the study does not choose."""
    trials = tuning_trials(study, arm)
    if not trials:
        return None
    base = folder.plan()["arms"][arm][LEARNING_RATE]
    runs: dict[float, list[TrialResult]] = {rate: [] for rate in sorted(_rate(trial, base) for trial in trials)}
    for trial in trials:
        runs[_rate(trial, base)].append(trial_result(trial, folder, study.judged_by))
    return RateChoice(arm, runs, study.judged_by.lower_is_better)


def _rate(trial: Trial, base: float) -> float:
    assert trial.learning_rate is not None
    return resolve_rate(trial.learning_rate, base)
