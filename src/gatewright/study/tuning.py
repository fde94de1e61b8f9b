"""Choosing each arm's learning rate: rates are tried on seeds of their own, which no verdict rests on.

``tuner: grid`` trains every rate on every tuning seed. ``tuner: successive_halving`` (Karnin et al. 2013, Jamieson and
Talwalkar 2016) gives all rates a part of the seeds, the better half of them twice as many, and so on; the last two get
all. What is saved are whole runs. Halving the steps instead would compare rates in runs whose schedule ends earlier or
is cut off, where other rates are the best ones, and not by as much in every arm.
"""

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
class Rung:
    """Rates that were compared with one another, on the first ``seeds`` tuning seeds."""

    seeds: int
    rates: tuple[float, ...]


@dataclass(frozen=True)
class RateChoice:
    """How an arm's learning rate is chosen among those of the study."""

    arm: str
    runs: dict[float, list[TrialResult]]
    """by learning rate, from the lowest to the highest; those that the tuner asked for so far"""
    rungs: list[Rung]
    """what was compared so far, one after the other; a grid is one rung"""
    decided: bool
    """whether all its runs have ended, by finishing or by diverging; one that failed will be tried again"""
    learning_rate: float | None
    """the rate with the best mean in the last rung; None before it is decided, or if the arm diverged at every rate"""

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
        """The mean over its tuning seeds by rate, where each of them finished: a rate that diverges on one is out."""
        values = {rate: values for rate, values in self.values.items() if values}
        return {rate: fmean(own) for rate, own in values.items() if len(own) == len(self.runs[rate])}

    @property
    def edge(self) -> Literal["lowest", "highest"] | None:
        """Whether the chosen rate is the last one of the grid on a side, beyond which a better one may lie."""
        rates = list(self.runs)
        edges: dict[float | None, Literal["lowest", "highest"]] = {rates[0]: "lowest", rates[-1]: "highest"}
        return edges.get(self.learning_rate)


def rate_choice(study: Study, folder: StudyFolder, arm: str) -> RateChoice | None:
    """The arm's choice as its runs stand now; None where the study does not choose.

    Each rung takes the best rates of the one before. One that diverges in it makes room for the next best.
    """
    if not study.learning_rates:
        return None
    base = folder.plan()["arms"][arm][LEARNING_RATE]
    entries = {resolve_rate(entry, base): entry for entry in study.learning_rates}
    ranking = sorted(entries)
    runs: dict[float, list[TrialResult]] = {rate: [] for rate in ranking}
    rungs: list[Rung] = []
    sign = 1 if study.judged_by.lower_is_better else -1
    for size, seeds in rung_sizes(study):
        sound: list[float] = []
        lost: list[float] = []
        for rate in ranking:
            if len(sound) == size:
                break
            for seed in study.tuning_seeds[len(runs[rate]) : seeds]:
                runs[rate].append(trial_result(Trial(arm, seed, entries[rate]), folder, study.judged_by))
            (lost if any(t.state == "diverged" for t in runs[rate]) else sound).append(rate)
        rungs.append(Rung(seeds, tuple(sorted([*sound, *lost]))))
        if any(t.state not in ("finished", "diverged") for rate in (*sound, *lost) for t in runs[rate]):
            return RateChoice(arm, runs, rungs, decided=False, learning_rate=None)
        sound.sort(key=lambda rate: sign * fmean(t.value for t in runs[rate] if t.value is not None))
        ranking = [*sound, *(rate for rate in ranking if rate not in sound and rate not in lost)]
    return RateChoice(arm, runs, rungs, decided=True, learning_rate=ranking[0] if ranking else None)


def rate_choices(study: Study, folder: StudyFolder) -> list[RateChoice]:
    """The choices of all arms; none where the study does not choose."""
    choices = (rate_choice(study, folder, arm) for arm in study.arms)
    return [choice for choice in choices if choice is not None]


def spared_trials(study: Study, folder: StudyFolder) -> set[Trial]:
    """The trials that arms which have made their choice did not need for it; a grid needs them all."""
    if study.tuner == "grid":
        return set()
    decided = [choice for choice in rate_choices(study, folder) if choice.decided]
    asked = {tried.trial for choice in decided for tried in choice.trials}
    return {trial for choice in decided for trial in tuning_trials(study, choice.arm) if trial not in asked}


def rung_sizes(study: Study) -> list[tuple[int, int]]:
    """How many rates are compared on how many seeds, in turn.

    With R rates, T seeds and K = min(⌈log2 R⌉, ⌊log2 T⌋ + 1) rungs: rung i of 0 … K − 1 takes the best ⌈R / 2^i⌉ on the
    first ⌊T / 2^(K−1−i)⌋.
    """
    rates, seeds = len(study.learning_rates), len(study.tuning_seeds)
    if study.tuner == "grid":
        return [(rates, seeds)]
    rungs = min((rates - 1).bit_length(), seeds.bit_length())
    return [(-(-rates // 2**i), seeds >> (rungs - 1 - i)) for i in range(rungs)]


def tuning_runs(study: Study) -> int:
    """Runs that it takes to choose an arm's rate, if none diverges."""
    runs = done = 0
    for rates, seeds in rung_sizes(study) if study.learning_rates else ():
        runs, done = runs + rates * (seeds - done), seeds
    return runs
