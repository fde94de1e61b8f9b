"""How fast and how steadily runs learn from rewards, and what listening was like meanwhile: numbers by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from gatewright.run import Run
from gatewright.study.gather import ArmResult
from gatewright.study.metric import Metric

SHARE = 0.9
"""How far the threshold lies on the baseline's way from its mean start to its mean end."""

RECORDED = {
    "effective_peers": "gate.effective_peers",
    "differing_mass": "gate.differing_mass",
    "blend_divergence": "gate.blend_divergence",
    "zero_variance": "zero_variance",
    "listening_share": "gate.listening_share",
}
"""Training quantities that are averaged, by what they are called here."""

Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Course:
    """An arm over training. Numbers are means over the seeds that have them, None where none has."""

    arm: str
    seeds: int = 0
    """with a result"""
    start: float | None = None
    """the judged metric before the first step"""
    final: float | None = None
    sd: float | None = None
    """of the final values over seeds, n − 1"""
    steps: float | None = None
    """to the threshold, over the seeds that reach it"""
    reached: int = 0
    """seeds that reach the threshold"""
    fell_below_start: list[int] = field(default_factory=list)
    """seeds that end worse than they started"""
    largest_drop: float | None = None
    """the most by which a seed's metric fell behind its own best until then"""
    effective_peers: float | None = None
    """this and what follows: over the records of the second half of training"""
    differing_mass: float | None = None
    blend_divergence: float | None = None
    zero_variance: float | None = None
    listening_share: float | None = None

    @property
    def listens(self) -> bool:
        """Whether anybody heard anybody; otherwise its listening is that of a probe that nobody heard."""
        return bool(self.listening_share)


@dataclass(frozen=True)
class Courses:
    """Every arm's course, in the order given, and the threshold of its steps; None if the baseline did not improve."""

    threshold: float | None
    arms: list[Course]

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {"threshold": self.threshold, "arms": [asdict(course) for course in self.arms]}


def courses(arms: Sequence[ArmResult], baseline: ArmResult, metric: Metric) -> Courses:
    """The courses of ``arms`` by the evaluations of ``metric``; without a curve only their ends and their listening."""
    curves = {arm.name: _curves(arm, metric) for arm in (baseline, *arms)}
    sign = -1 if metric.lower_is_better else 1
    limit = threshold(list(curves[baseline.name].values()), sign)
    return Courses(limit, [_course(arm, curves[arm.name], limit, sign) for arm in arms])


def threshold(curves: Sequence[Points], sign: int) -> float | None:
    """``start + SHARE (end − start)`` of the mean of ``curves``; None unless they improve, upward if ``sign`` is 1."""
    if not curves:
        return None
    start, end = fmean(curve[0][1] for curve in curves), fmean(curve[-1][1] for curve in curves)
    return start + SHARE * (end - start) if sign * (end - start) > 0 else None


def steps_to(curve: Points, limit: float, sign: int) -> int | None:
    """The step of the first evaluation at the limit or beyond; None if there is none."""
    return next((step for step, value in curve if sign * (value - limit) >= 0), None)


def largest_drop(curve: Points, sign: int) -> float:
    """The most by which the metric falls behind its best until then, ``max_t (best_t − value_t)``."""
    best, drop = curve[0][1], 0.0
    for _, value in curve:
        best = sign * max(sign * best, sign * value)
        drop = max(drop, sign * (best - value))
    return drop


def second_half(records: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """The mean of what was recorded in the second half of training."""
    last = max((record["step"] for record in records), default=0)
    values = [r[key] for r in records if r["step"] > last / 2 and r.get(key) is not None]
    return fmean(values) if values else None


def _course(arm: ArmResult, curves: Mapping[int, Points], limit: float | None, sign: int) -> Course:
    runs = list(_runs(arm).values())
    found = [] if limit is None else [steps_to(curve, limit, sign) for curve in curves.values()]
    reached = [step for step in found if step is not None]
    records = [run.train_records() for run in runs]
    return Course(
        arm.name,
        arm.n,
        _mean([curve[0][1] for curve in curves.values()]),
        arm.mean,
        arm.sd,
        _mean(reached),
        len(reached),
        [seed for seed, curve in curves.items() if sign * (curve[-1][1] - curve[0][1]) < 0],
        max((largest_drop(curve, sign) for curve in curves.values()), default=None),
        **{name: _mean([second_half(own, key) for own in records]) for name, key in RECORDED.items()},
    )


def _runs(arm: ArmResult) -> dict[int, Run]:
    return {t.trial.seed: t.run for t in arm.trials if t.run is not None and t.value is not None}


def _curves(arm: ArmResult, metric: Metric) -> dict[int, Points]:
    """By seed, the evaluations of runs that have any."""
    key = metric.record_key
    curves = {
        seed: [(record["step"], record[key]) for record in run.eval_records() if record.get(key) is not None]
        for seed, run in _runs(arm).items()
        if key is not None
    }
    return {seed: curve for seed, curve in curves.items() if curve}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
