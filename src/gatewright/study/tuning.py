"""Choosing each arm's learning rate: every rate is tried on seeds of its own, which no verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatewright.study.gather import TrialResult, trial_result
from gatewright.study.plan import Study
from gatewright.study.store import StudyFolder
from gatewright.study.trials import tuning_trials


@dataclass(frozen=True)
class RateChoice:
    """How an arm's learning rate is chosen among those of the study."""

    arm: str
    trials: list[TrialResult]
    lower_is_better: bool

    @property
    def values(self) -> dict[float, list[float]]:
        """The metric of every finished run by learning rate, from the lowest rate to the highest."""
        rates = sorted({t.trial.learning_rate or 0.0 for t in self.trials})
        return {
            rate: [t.value for t in self.trials if t.trial.learning_rate == rate and t.value is not None]
            for rate in rates
        }

    @property
    def means(self) -> dict[float, float]:
        """The mean over tuning seeds by rate, for the rates at which every seed finished: one that diverges is out."""
        seeds = len({t.trial.seed for t in self.trials})
        return {rate: sum(values) / seeds for rate, values in self.values.items() if len(values) == seeds}

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
        rates = list(self.values)
        edges: dict[float | None, Literal["lowest", "highest"]] = {rates[0]: "lowest", rates[-1]: "highest"}
        return edges.get(self.learning_rate)


def rate_choice(study: Study, folder: StudyFolder, arm: str) -> RateChoice | None:
    """The arm's choice as its runs stand now; None where the study does not choose."""
    results = [trial_result(trial, folder, study.judged_by) for trial in tuning_trials(study, arm)]
    return RateChoice(arm, results, study.judged_by.lower_is_better) if results else None
