"""From a study's folder to what it shows: paired comparisons, a ranking, warnings; written as JSON and CSV."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from gatewright.files import write_atomic
from gatewright.study.checks import Remark, remarks
from gatewright.study.convergence import Courses, courses
from gatewright.study.gather import ArmResult, TrialResult, gather
from gatewright.study.kind import is_rewarded, learns_task
from gatewright.study.libraries import pd
from gatewright.study.plan import LEARNING_RATE, Study
from gatewright.study.power import detectable_difference, seeds_needed
from gatewright.study.sequential import compare_sequential
from gatewright.study.series import Axis
from gatewright.study.statistics import Comparison, compare_paired, correct_family
from gatewright.study.store import StudyFolder, plan_hash
from gatewright.study.tuning import RateChoice, rate_choice
from gatewright.study.wording import sentence

POWER = 0.8


@dataclass(frozen=True)
class Analysis:
    """A study's outcome. It depends on the runs alone: no clock, no machine, no order of execution."""

    study: Study
    folder: StudyFolder
    arms: dict[str, ArmResult]
    designs: dict[str, dict[str, Any]]
    """every arm's resolved design, with the learning rate that was chosen for it"""
    comparisons: list[Comparison]
    """the study's family, Holm-corrected, in the study's order"""
    unpaired: dict[tuple[str, str], list[int]]
    """by comparison, the seeds that could not be paired"""
    choices: dict[str, RateChoice]
    """by arm, how its learning rate was chosen, where the study chooses"""
    remarks: list[Remark]
    plan_hash: str

    @property
    def ranking(self) -> list[ArmResult]:
        """Arms from best to worst, those without a value last.

        They are ordered by the paired difference from the baseline, so that an arm that lost a hard seed gains nothing
        by it; by their means only where the baseline has no run to be paired with.
        """
        sign = 1 if self.study.judged_by.lower_is_better else -1

        def place(arm: ArmResult) -> tuple[bool, bool, float]:
            difference = arm.mean_difference(self.baseline)
            score = arm.mean or 0.0 if difference is None else difference
            return arm.mean is None, self.baseline.n > 0 and difference is None, sign * score

        return sorted(self.arms.values(), key=place)

    @property
    def baseline(self) -> ArmResult:
        """The arm all others are compared with."""
        return self.arms[self.study.baseline]

    @property
    def complete(self) -> bool:
        """Whether every trial of the study has a value."""
        return all(arm.n == len(self.study.seeds) for arm in self.arms.values())

    @property
    def failed(self) -> list[TrialResult]:
        """The trials that failed or diverged."""
        return [t for arm in self.arms.values() for t in arm.trials if t.state in ("failed", "diverged")]

    @property
    def rewarded(self) -> bool:
        """Whether the study is of reinforcement learning."""
        return is_rewarded(self.designs)

    @property
    def axis(self) -> Axis:
        """What curves are aligned by: tokens, or steps where those of one step differ between seeds."""
        return "step" if learns_task(self.designs) else "tokens"

    @cached_property
    def courses(self) -> Courses | None:
        """How arms that learn from rewards went over training, best first; None for other studies."""
        return courses(self.ranking, self.baseline, self.study.judged_by) if self.rewarded else None

    def comparison(self, arm: str) -> Comparison | None:
        """The arm's comparison with the baseline, if there is one."""
        return next((c for c in self.comparisons if (c.arm, c.baseline) == (arm, self.study.baseline)), None)

    @property
    def strictest_alpha(self) -> float:
        """The level at which Holm tests the smallest p-value of the family; what the study's power is stated for."""
        tested = sum(c.p_value is not None for c in self.comparisons)
        return (self.comparisons[0].alpha if self.comparisons else 0.05) / max(tested, 1)

    def detectable(self, comparison: Comparison) -> float | None:
        """The smallest difference this comparison could have shown, with 80 % power, in the metric's units."""
        if not comparison.sd:
            return None
        return detectable_difference(
            comparison.sd, comparison.n, self.strictest_alpha, POWER, sequential=self.study.sequential
        )

    def seeds_for(self, comparison: Comparison, difference: float) -> int | None:
        """Seeds that would show ``difference`` with 80 % power, if the spread is what it seems to be.

        They are those of a study that looks once; a sequential one needs more.
        """
        if not comparison.sd:
            return None
        return seeds_needed(comparison.sd, difference, self.strictest_alpha, POWER)

    def to_dict(self) -> dict[str, Any]:
        """The contents of ``results.json``."""
        metric = self.study.judged_by
        return {
            "format": 1,
            "study": self.study.name,
            "plan": self.plan_hash,
            "metric": metric.name,
            "direction": metric.direction,
            "baseline": self.study.baseline,
            "seeds": list(self.study.seeds),
            "alpha": 0.05,
            "correction": "holm",
            "equivalence_margin": self.study.equivalence_margin,
            "learning_rates": {arm: _choice(choice) for arm, choice in self.choices.items()},
            **({} if self.study.tuner == "grid" else {"tuner": self.study.tuner}),
            "comparisons": [c.to_dict() for c in self.comparisons],
            "details": [self._details(c) for c in self.comparisons],
            "arms": [self._arm(rank, arm) for rank, arm in enumerate(self.ranking, start=1)],
            "runs": [
                {"arm": t.trial.arm, "seed": t.trial.seed, "state": t.state, "value": t.value, "error": t.error}
                for arm in self.arms.values()
                for t in arm.trials
            ],
            "warnings": [
                {"level": r.level, "code": r.code, "text": r.text}
                for r in self.remarks
                if r.code not in ("environment", "retried")  # what a run met with on its way is the report's to tell
            ],
            **({} if self.courses is None else {"listening": self.courses.to_dict()}),
        }

    def _details(self, c: Comparison) -> dict[str, Any]:
        return {
            "arm": c.arm,
            "baseline": c.baseline,
            "sentence": sentence(c, self.study.judged_by),
            "relative_difference_percent": c.percent(c.mean_difference) if c.baseline_mean else None,
            "sd_of_differences": c.sd,
            "ci95_bootstrap": None if c.ci95_bootstrap is None else list(c.ci95_bootstrap),
            "p_sign_flip": c.p_sign_flip,
            "equivalence_margin": c.margin,
            "p_equivalence": c.p_equivalence,
            "p_equivalence_adjusted": c.p_equivalence_adjusted,
            "within_margin": c.within_margin,
            "detectable_difference": self.detectable(c),
            "unpaired_seeds": self.unpaired[c.arm, c.baseline],
            "note": c.note,
        }

    def _arm(self, rank: int, arm: ArmResult) -> dict[str, Any]:
        return {
            "rank": rank if arm.n else None,
            "arm": arm.name,
            "about": arm.about,
            "overrides": arm.overrides,
            "architecture": arm.recorded("architecture"),
            "parameters": arm.recorded("parameters"),
            "flops_per_token": arm.recorded("flops_per_token"),
            "n": arm.n,
            "mean": arm.mean,
            "sd": arm.sd,
            "values": {str(seed): value for seed, value in arm.values.items()},
        }

    def write(self) -> None:
        """Write ``results.json`` and ``results.csv`` (the ranking, one arm a row) into the study's folder."""
        content = json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        write_atomic(self.folder.path / "results.json", content + "\n")
        write_atomic(self.folder.path / "results.csv", self.table().to_csv(index=False))

    def table(self) -> pd.DataFrame:
        """The ranking as a data frame, one arm a row, comparisons with the baseline beside it."""
        rows = []
        for entry in self.to_dict()["arms"]:
            row = {key: value for key, value in entry.items() if key not in ("overrides", "values")}
            comparison = self.comparison(entry["arm"])
            if comparison is not None:
                found = comparison.to_dict()
                row["n_pairs"] = comparison.n
                row["ci95_low"], row["ci95_high"] = comparison.ci95 or (None, None)
                row |= {k: found[k] for k in ("mean_difference", "p_value", "p_adjusted", "effect_size", "verdict")}
            row["tokens_per_second"] = self.arms[entry["arm"]].tokens_per_second
            rows.append(row)
        frame = pd.DataFrame(rows)
        whole = [column for column in ("rank", "parameters", "flops_per_token", "n", "n_pairs") if column in frame]
        return frame.astype(dict.fromkeys(whole, "Int64"))


def analyse(path: str | Path) -> Analysis:
    """Judge the study in folder ``path`` by the runs it has now. Reads only; `Analysis.write` writes.

    Arms are paired over the seeds that finished in both. Raises `UserError` if ``path`` is not a
    study's folder.
    """
    folder = StudyFolder(path)
    study = folder.study()
    recorded = folder.plan()
    arms = gather(study, folder)
    unpaired = {
        pair: [seed for seed in study.seeds if any(seed not in arms[name].values for name in pair)]
        for pair in study.family
    }
    comparisons = judge_family(study, arms, study.seeds)
    choices = {arm: choice for arm in study.arms if (choice := rate_choice(study, folder, arm)) is not None}
    designs = {arm: design | _chosen(choices.get(arm)) for arm, design in recorded["arms"].items()}
    found = remarks(study, arms, comparisons, designs, choices, folder.judgement_changes(study))
    return Analysis(study, folder, arms, designs, comparisons, unpaired, choices, found, plan_hash(recorded))


def judge_family(study: Study, arms: dict[str, ArmResult], seeds: list[int]) -> list[Comparison]:
    """The study's family of comparisons by ``seeds`` alone, corrected; pairs that share none of them are left out."""
    shared = {
        pair: [seed for seed in seeds if all(seed in arms[name].values for name in pair)] for pair in study.family
    }
    return correct_family([_compare(study, arms, pair, own) for pair, own in shared.items() if own])


def _chosen(choice: RateChoice | None) -> dict[str, float]:
    return {LEARNING_RATE: choice.learning_rate} if choice and choice.learning_rate else {}


def _choice(choice: RateChoice) -> dict[str, Any]:
    return {
        "chosen": choice.learning_rate,
        "edge": choice.edge,
        "means": {f"{rate:g}": mean for rate, mean in choice.means.items()},
        "values": {f"{rate:g}": values for rate, values in choice.values.items()},
        "rungs": [{"seeds": rung.seeds, "rates": list(rung.rates)} for rung in choice.rungs],
    }


def _compare(study: Study, arms: dict[str, ArmResult], pair: tuple[str, str], seeds: list[int]) -> Comparison:
    arm, baseline = (arms[name] for name in pair)
    a, b = [arm.values[s] for s in seeds], [baseline.values[s] for s in seeds]
    margin = None if study.equivalence_margin is None else study.equivalence_margin * abs(sum(b) / len(b))
    judge = compare_sequential if study.sequential else compare_paired
    return judge(
        a,
        b,
        arm=arm.name,
        baseline=baseline.name,
        metric=study.metric,
        lower_is_better=study.judged_by.lower_is_better,
        margin=margin or None,
        parameters=arm.recorded("parameters"),
        baseline_parameters=baseline.recorded("parameters"),
    )
