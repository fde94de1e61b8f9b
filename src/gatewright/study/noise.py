"""What is known of the seeds' noise before a study runs, and the smallest difference its plan can therefore show.

The noise is the standard deviation, over seeds, of the difference between two arms that share them, relative to the
baseline's mean. It comes, in this order, from the study's own finished runs, from what the study file states, or from
earlier studies judged by the same metric; the standard deviations of several comparisons are pooled,
√(Σ ν s² / Σ ν) with ν = n − 1. Whichever it is, it is named.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gatewright.errors import UserError
from gatewright.reading import complaint, parse_json, read_text
from gatewright.study import power
from gatewright.study.libraries import stats
from gatewright.study.statistics import NO_SPREAD, Comparison
from gatewright.study.wording import join, percent

RESULTS = "results.json"

ENOUGH_DEGREES = 3
"""With fewer degrees of freedom the study's own spread may be off by a factor of four, and other sources go first."""

POWER = 0.8


@dataclass(frozen=True)
class Noise:
    """The relative standard deviation of paired differences, and how it is known."""

    relative_sd: float
    source: str
    degrees: int | None = None
    """degrees of freedom behind it; None: it was stated"""

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """The χ² interval of a measured standard deviation, as if its comparisons shared no runs; None if stated."""
        if self.degrees is None:
            return None
        tail = (1 - confidence) / 2
        high, low = stats.chi2.ppf([tail, 1 - tail], self.degrees)
        return self.relative_sd * float(np.sqrt(self.degrees / low)), self.relative_sd * float(
            np.sqrt(self.degrees / high)
        )


Spread = tuple[float, int]
"""The relative standard deviation of one comparison, and its degrees of freedom."""


def find_noise(
    metric: str,
    *,
    own: Sequence[Comparison] = (),
    stated: float | str | Path | None = None,
    beside: Path | None = None,
    but: Path | None = None,
) -> Noise | None:
    """The best there is to know about the noise of ``metric``; None if nothing is known.

    ``own`` are the comparisons of the study as far as it has run. ``stated`` is a number (0.003 is 0.3 %) or the folder
    of an earlier study. ``beside`` is a folder of studies that are all pooled, except the study's own, ``but``.
    Raises `UserError` for a stated number that is no such share and for a folder without results of ``metric``.
    """
    measured = [(c.sd / abs(c.baseline_mean), c.n - 1) for c in own if c.sd and c.baseline_mean]
    here = _pooled(measured, f"this study's own {sum(nu + 1 for _, nu in measured)} finished pairs of runs")
    if here is not None and (here.degrees or 0) >= ENOUGH_DEGREES:
        return here
    if stated is not None:
        return _stated(stated, metric)
    return (_found(beside, but, metric) if beside is not None else None) or here


def detectable_difference(
    noise: Noise, seeds: int, comparisons: int = 1, *, sequential: bool = False, alpha: float = 0.05
) -> float | None:
    """The smallest relative difference that ``seeds`` seeds show with 80 % power, at the strictest level of Holm.

    With ``sequential`` they are looked at one by one, and are the most there can be. None where no difference is large
    enough.
    """
    return power.detectable_difference(
        noise.relative_sd, seeds, alpha / max(comparisons, 1), POWER, sequential=sequential
    )


def sentence(noise: Noise | None, seeds: int, comparisons: int = 1, *, sequential: bool = False) -> str:
    """What a plan of so many seeds can show, in words, with what that rests on."""
    if noise is None:
        return (
            "the smallest difference it can show is not known: no noise is stated ('noise: 0.003' in the study file is "
            "a paired standard deviation of 0.3 %) and no earlier study was found"
        )
    difference = detectable_difference(noise, seeds, comparisons, sequential=sequential)
    how_many = f"{'at most ' if sequential else ''}{seeds} seed{'s' if seeds > 1 else ''}"
    rests = f"paired noise {_percent(noise.relative_sd)}, {_basis(noise)}"
    if difference is None:
        return f"{how_many} can show no difference, however large ({rests})"
    among = f" in any of {comparisons} comparisons" if comparisons > 1 else ""
    return f"{how_many} can show differences from {_percent(difference)}{among} with 80 % power ({rests})"


def _basis(noise: Noise) -> str:
    ends = noise.interval()
    if ends is None:
        return noise.source
    return f"from {noise.source}; it may be {_percent(ends[0])} to {_percent(ends[1])}"


def _percent(share: float) -> str:
    return percent(100 * share, sign=False)


def _pooled(spreads: Iterable[Spread], source: str) -> Noise | None:
    spreads = [(sd, nu) for sd, nu in spreads if sd > NO_SPREAD and nu > 0]
    if not spreads:
        return None
    sds, nus = np.array(spreads).T
    return Noise(float(np.sqrt((nus * sds**2).sum() / nus.sum())), source, int(nus.sum()))


def _stated(stated: float | str | Path, metric: str) -> Noise:
    if isinstance(stated, (str, Path)):
        noise = _pooled(read_spreads(Path(stated), metric), f"the study in {stated}")
        if noise is None:
            raise UserError(f"noise={stated}: no comparison of {metric} with two seeds or more is in there")
        return noise
    if not 0 < stated < 1:
        raise UserError(f"noise={stated}: expected a share of the baseline's mean between 0 and 1 (0.003 is 0.3 %)")
    return Noise(stated, "as stated in the study file")


def _found(folder: Path, but: Path | None, metric: str) -> Noise | None:
    spreads: list[Spread] = []
    names = []
    for results in sorted(folder.glob(f"*/{RESULTS}")):
        if but is not None and results.parent.resolve() == but.resolve():
            continue
        try:
            found = read_spreads(results.parent, metric)
        except UserError:  # nobody named it: it may be anything, such as results of another program
            continue
        spreads += found
        names += [results.parent.name] if found else []
    which = join(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"
    return _pooled(spreads, f"the earlier stud{'y' if len(names) == 1 else 'ies'} {which} in {folder}")


def read_spreads(study: Path, metric: str) -> list[Spread]:
    """The spread of every comparison by ``metric`` in the results of the study in folder ``study``.

    Raises `UserError` where there are none that can be read.
    """
    path = study / RESULTS
    text = read_text(path, "the noise in ")
    try:
        results = parse_json(text)
        means = {arm["arm"]: arm["mean"] for arm in results["arms"]}
        pairs = list(zip(results["comparisons"], results["details"], strict=True))
        return [
            (details["sd_of_differences"] / abs(means[c["baseline"]]), c["n"] - 1)
            for c, details in pairs
            if c["metric"] == metric and details["sd_of_differences"] and means[c["baseline"]]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        why = f"{type(error).__name__}: {complaint(error)}"
        raise UserError(f"noise: {path} does not hold a study's results ({why})") from error
