"""Error rates by simulation: thousands of synthetic studies through the functions that judge real ones.

Tolerances are three Monte-Carlo standard errors, √(p(1−p)/studies), so a wrong quantile or a missing factor fails.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from gatewright.study import power, statistics


@pytest.fixture(autouse=True)
def _no_garbage_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call of statsmodels' `multipletests` collects garbage, which makes thousands of them take minutes."""
    monkeypatch.setattr("gc.collect", lambda: 0)


def tolerance(rate: float, studies: int) -> float:
    """Three standard errors of a simulated rate."""
    return 3 * math.sqrt(rate * (1 - rate) / studies)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_t_interval_covers_95_percent(n: int) -> None:
    studies = 40_000
    d = np.random.default_rng(n).normal(0.3, 1.0, (studies, n))
    low, high = statistics.t_interval(d)
    covered = np.mean((low <= 0.3) & (high >= 0.3))
    assert covered == pytest.approx(0.95, abs=tolerance(0.95, studies))


@pytest.mark.parametrize("method", ["BCa", "percentile"])
def test_bootstrap_intervals_undercover_at_few_seeds(method: str) -> None:
    """The reason why ci95 is the t interval: at n = 3 to 5 the bootstrap holds the truth in 73 to 83 % of studies."""
    rng = np.random.default_rng(0)
    rates = {}
    for n in (3, 5):
        ends = [statistics.bootstrap_interval(d, method=method, resamples=499) for d in rng.normal(size=(400, n))]
        rates[n] = np.mean([low <= 0 <= high for low, high in ends])
    assert 0.67 < rates[3] < 0.82
    assert 0.76 < rates[5] < 0.89


def studies_against_one_baseline(shifts: list[float], n: int, studies: int, seed: int) -> np.ndarray:
    """Differences of shape (studies, arms, n): every arm is compared with the same baseline, so they are correlated."""
    rng = np.random.default_rng(seed)
    seeds = rng.normal(0, 2.0, (studies, 1, n))  # what a seed does to all arms alike; pairing takes it out
    arms = seeds + rng.normal(0, 1.0, (studies, len(shifts), n)) + np.array(shifts)[:, None]
    baseline = seeds + rng.normal(0, 1.0, (studies, 1, n))
    return arms - baseline


@pytest.mark.parametrize(("arms", "n"), [(1, 3), (5, 3), (5, 8)])
def test_false_claims_of_a_family_stay_within_five_percent(arms: int, n: int) -> None:
    studies = 4_000
    p = statistics.paired_t_p(studies_against_one_baseline([0.0] * arms, n, studies, seed=arms + n))
    any_claim = np.mean([statistics.holm(family).min() < 0.05 for family in p])
    assert any_claim <= 0.05 + tolerance(0.05, studies)
    assert any_claim > 0.02  # and the test is not so strict as to be useless


def test_false_claims_beside_true_differences_stay_within_five_percent() -> None:
    studies = 4_000
    p = statistics.paired_t_p(studies_against_one_baseline([0.0, 0.0, 6.0, 6.0], 8, studies, seed=1))
    adjusted = np.array([statistics.holm(family) for family in p])
    assert np.mean((adjusted[:, :2] < 0.05).any(axis=1)) <= 0.05 + tolerance(0.05, studies)
    assert np.mean(adjusted[:, 2:] < 0.05) > 0.95


def test_equivalence_is_claimed_in_five_percent_of_studies_at_the_margin_and_mostly_at_zero() -> None:
    studies, n = 40_000, 5
    d = np.random.default_rng(2).normal(0, 0.1, (studies, n))
    at_margin = np.mean(statistics.equivalence_p(d + 0.5, 0.5) < 0.05)
    assert at_margin == pytest.approx(0.05, abs=tolerance(0.05, studies))
    assert np.mean(statistics.equivalence_p(d, 0.5) < 0.05) > 0.99


def test_hedges_gz_is_unbiased() -> None:
    d = np.random.default_rng(5).normal(0.8, 1.0, (200_000, 5))
    estimates = statistics.hedges_gz(d)
    assert estimates.mean() == pytest.approx(0.8, abs=3 * estimates.std() / math.sqrt(len(estimates)))


@pytest.mark.parametrize(("n", "alpha"), [(2, 0.05), (3, 0.05), (3, 0.01), (5, 0.05), (5, 0.0125), (10, 0.05)])
def test_power_at_the_stated_detectable_difference_is_80_percent(n: int, alpha: float) -> None:
    studies = 40_000
    smallest = power.detectable_difference(0.25, n, alpha)
    d = np.random.default_rng(n).normal(smallest, 0.25, (studies, n))
    assert np.mean(statistics.paired_t_p(d) < alpha) == pytest.approx(0.8, abs=tolerance(0.8, studies))


def test_power_agrees_with_statsmodels_where_that_is_finite() -> None:
    compared = 0
    for n in (2, 3, 5, 10, 30):
        for effect in (0.0, 0.3, 1.0, 2.0, 5.0):
            for alpha in (0.05, 0.01):
                reference = TTestPower().power(effect, n, alpha)
                if np.isfinite(reference):
                    assert power.paired_t_power(effect, n, alpha) == pytest.approx(reference, abs=1e-7)
                    compared += 1
    assert compared > 40


def test_three_seeds_detect_three_and_a_quarter_standard_deviations() -> None:
    assert power.detectable_effect(3) == pytest.approx(3.264, abs=1e-3)


@pytest.mark.parametrize(
    ("sd", "difference", "seeds"), [(0.25, 0.5, 5), (0.25, 1.0, 3), (0.74, 0.5, 20), (0.74, 1.0, 7)]
)
def test_seeds_needed(sd: float, difference: float, seeds: int) -> None:
    assert power.seeds_needed(sd, difference) == seeds
    assert power.paired_t_power(difference / sd, seeds) >= 0.8
    assert power.paired_t_power(difference / sd, seeds - 1) < 0.8


def test_hopeless_differences_and_no_spread_have_an_answer() -> None:
    assert power.seeds_needed(1.0, 0.01) is None
    assert power.seeds_needed(0.0, 0.01) == 2
