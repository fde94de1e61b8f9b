"""Sequential inference by simulation: error rates of studies that are looked at after every seed, and what it costs.

Upper bounds hold with three Monte-Carlo standard errors to spare; lower bounds keep a test that rejects nothing out.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import integrate, stats
from test_study_error_rates import studies_against_one_baseline, tolerance

from gatewright.errors import UserError
from gatewright.study import sequential, statistics
from gatewright.study.sequential import always_valid_p, compare_sequential, confidence_sequence, e_process
from gatewright.study.statistics import compare_paired, correct_family

STUDIES, LOOKS = 20_000, 50


def null(seed: int = 0, studies: int = STUDIES, looks: int = LOOKS) -> np.ndarray:
    """Normal differences without a difference."""
    return np.random.default_rng(seed).normal(size=(studies, looks))


def mixed_likelihood(d: np.ndarray, effects: np.ndarray, weights: np.ndarray) -> float:
    """The density of d at mean effect × σ and standard deviation σ, integrated over dσ/σ and over the effects."""
    log_sd = np.linspace(-5, 9, 1_001)
    standard = d[:, None, None] / np.exp(log_sd)[:, None] - effects
    density = np.exp(stats.norm.logpdf(standard).sum(axis=0) - len(d) * log_sd[:, None])
    return float(integrate.simpson(integrate.simpson(density, x=log_sd, axis=0) * weights, x=effects))


@pytest.mark.parametrize("n", [2, 3, 6])
@pytest.mark.parametrize("g", [1.0, 10.0])
def test_the_e_process_is_the_ratio_of_likelihoods_with_the_effect_mixed(n: int, g: float) -> None:
    d = np.random.default_rng(n).normal(0.8, 0.7, n)
    effects = np.linspace(0, 20, 801)
    prior = stats.norm.pdf(effects, 0, math.sqrt(g))
    above, below = mixed_likelihood(d, effects, prior), mixed_likelihood(-d, effects, prior)
    none = mixed_likelihood(d, np.array([-1e-6, 0.0, 1e-6]), np.full(3, 5e5))
    assert e_process(d, g=g)[-1] == pytest.approx((above + below) / none, rel=1e-5)
    assert e_process(d, g=g, alternative="greater")[-1] == pytest.approx(2 * above / none, rel=1e-5)
    assert e_process(d, g=g)[0] == 1


def test_the_evidence_neither_grows_nor_shrinks_on_average_where_there_is_no_difference() -> None:
    e = e_process(null(1, 400_000, 4), g=1.0)  # bounded by √3, 4 and 5√5 there, so that means settle
    for n in (1, 2, 3, 4):
        assert e[:, n - 1].mean() == pytest.approx(1, abs=4 * e[:, n - 1].std() / math.sqrt(len(e)) + 1e-12)


def test_evidence_knows_no_scale_and_no_sign_and_looks_only_back() -> None:
    d = np.random.default_rng(3).normal(0.5, 1, (7, 9))
    assert e_process(-1e-6 * d) == pytest.approx(e_process(d), rel=1e-9)
    assert e_process(d[:, :5]) == pytest.approx(e_process(d)[:, :5])
    assert e_process(d, alternative="greater")[:, -1] + e_process(-d, alternative="greater")[:, -1] == pytest.approx(
        2 * e_process(d)[:, -1]
    )


def test_looking_after_every_seed_leaves_false_claims_below_five_percent() -> None:
    d = null()
    rejected = np.mean(always_valid_p(d)[:, -1] < 0.05)  # the running p: rejected at any look
    assert 0.015 < rejected <= 0.05 + tolerance(0.05, STUDIES)
    at_any_look = np.any([statistics.paired_t_p(d[:, :n]) < 0.05 for n in range(2, LOOKS + 1)], axis=0)
    assert at_any_look.mean() > 0.3  # what the t test makes of the same looking


@pytest.mark.parametrize("level", [0.01, 0.2])
def test_the_p_value_keeps_to_every_level_and_to_samples_of_any_spread(level: float) -> None:
    spread = np.exp(np.random.default_rng(8).normal(0, 5, (STUDIES, 1)))
    rejected = np.mean(always_valid_p(null(4) * spread)[:, -1] < level)
    assert level / 5 < rejected <= level + tolerance(level, STUDIES)


@pytest.mark.parametrize("mean", [0.0, -0.1, -1.0])
def test_one_sided_evidence_holds_at_every_mean_on_the_other_side(mean: float) -> None:
    rejected = np.mean(always_valid_p(null(5) + mean, alternative="greater")[:, -1] < 0.05)
    assert rejected <= 0.05 + tolerance(0.05, STUDIES)
    assert mean or rejected > 0.015


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("t3", 0.005, 0.05),  # heavy tails cost power, not validity
        ("skewness 1", 0.03, 0.065),
        ("skewness 2", 0.09, 0.16),  # far off, and no farther than a t test of five seeds: 0.12
    ],
)
def test_differences_that_are_not_normal(name: str, low: float, high: float) -> None:
    rng = np.random.default_rng(6)
    draw = {
        "t3": lambda: rng.standard_t(3, (STUDIES, LOOKS)),
        "skewness 1": lambda: rng.gamma(4, size=(STUDIES, LOOKS)) - 4,
        "skewness 2": lambda: rng.exponential(size=(STUDIES, LOOKS)) - 1,
    }
    assert low < np.mean(always_valid_p(draw[name]())[:, -1] < 0.05) < high


def test_the_confidence_sequence_holds_the_mean_at_all_looks_at_once() -> None:
    low, high = confidence_sequence(null(7) * 0.3 + 1.7)
    covered = np.mean(((low <= 1.7) & (high >= 1.7)).all(axis=-1))
    assert 0.95 - tolerance(0.95, STUDIES) <= covered < 0.985
    t_low, t_high = zip(*(statistics.t_interval(null(7)[:, :n]) for n in range(2, LOOKS + 1)), strict=True)
    assert np.mean(((np.array(t_low) <= 0) & (np.array(t_high) >= 0)).all(axis=0)) < 0.7


def test_the_confidence_sequence_is_where_the_evidence_has_not_reached_its_bound() -> None:
    d = np.random.default_rng(9).normal(0.4, 0.2, 8)
    for confidence in (0.8, 0.95):
        low, high = confidence_sequence(d, confidence)
        for n in range(1, 9):
            for end, inside in ((low[n - 1], 1), (high[n - 1], -1)):
                if np.isfinite(end):
                    assert e_process(d[:n] - (end + 1e-6 * inside)).max() < 1 / (1 - confidence)
                    assert e_process(d[:n] - (end - 1e-6 * inside)).max() > 1 / (1 - confidence)
    low, high = confidence_sequence(d)
    assert list(np.isinf(low)) == list(np.isinf(high)) == [True, True, *[False] * 6]
    assert (np.diff(low[2:]) >= 0).all()
    assert (np.diff(high[2:]) <= 0).all()


@pytest.mark.parametrize("arms", [1, 5])
def test_a_family_looked_at_after_every_seed_makes_false_claims_in_five_percent_at_most(arms: int) -> None:
    studies = 2_000
    d = studies_against_one_baseline([0.0] * arms, 12, studies, seed=arms)
    p = always_valid_p(d)[..., -1]  # Holm of the running p is the smallest it comes to at any look
    assert 0.005 < np.mean([holm(family).min() < 0.05 for family in p]) <= 0.05 + tolerance(0.05, studies)


def test_arms_that_stop_as_soon_as_they_are_decided_leave_the_others_their_error_rate() -> None:
    """Two arms differ and are decided early, two do not; each stops alone, at whatever Holm's correction says then."""
    studies, most = 1_000, 12
    d = studies_against_one_baseline([0.0, 0.0, 5.0, 5.0], most, studies, seed=2)
    p = always_valid_p(d)
    false, true = 0, 0
    for study in p:
        n = np.full(4, 3)
        while True:
            open_arms = (holm(study[range(4), n - 1]) >= 0.05) & (n < most)
            if not open_arms.any():
                break
            n[open_arms] += 1
        decided = holm(study[range(4), n - 1]) < 0.05
        false, true = false + decided[:2].any(), true + decided[2:].all()
    assert false / studies <= 0.05 + tolerance(0.05, studies)
    assert true / studies > 0.95


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjusted p-values written out, as statsmodels is slow in loops; the first test of a family holds it."""
    order = np.argsort(p)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return adjusted


def test_holm_here_is_holm_there() -> None:
    p = np.array([0.02, 0.9, 0.01, 0.03])
    assert holm(p) == pytest.approx(statistics.holm(p))


def test_equivalence_is_rarely_claimed_at_the_margin_at_any_look_and_mostly_at_zero() -> None:
    noise = null(10, looks=12)

    def claimed(mean: float) -> float:
        sides = [always_valid_p(x, alternative="greater")[:, -1] for x in (noise + mean + 2, 2 - noise - mean)]
        return float(np.mean(np.maximum(*sides) < 0.05))

    assert 0.01 < claimed(2.0) <= 0.05 + tolerance(0.05, STUDIES)
    assert claimed(-2.5) < claimed(-2.0)
    assert claimed(0.0) > 0.97


@pytest.mark.parametrize(("effect", "alpha", "power", "seeds"), [(2, 0.05, 0.99, 6.16), (3, 0.05 / 9, 1.0, 6.6)])
def test_power_and_seeds_are_those_stated(effect: float, alpha: float, power: float, seeds: float) -> None:
    outlook = sequential.expected_seeds(effect, 12, alpha=alpha)
    assert (outlook.power, outlook.mean_seeds) == (pytest.approx(power, abs=0.005), pytest.approx(seeds, abs=0.1))
    first = always_valid_p(null(11, looks=12) + effect) < alpha
    used = np.where(first.any(axis=-1), first.argmax(axis=-1) + 1, 12)
    assert outlook.mean_seeds == pytest.approx(used.mean(), abs=0.06)
    assert sequential.expected_seeds(effect, 12, alpha=alpha) == outlook


def test_a_study_never_uses_fewer_seeds_than_it_begins_with_or_more_than_it_may() -> None:
    assert sequential.expected_seeds(50.0, 12, least=5).mean_seeds == 5
    none = sequential.expected_seeds(0.0, 4, alpha=1e-6)
    assert (none.power, none.mean_seeds, none.median_seeds) == (0, 4, 4)


def test_the_detectable_effect_is_detected_in_eighty_percent() -> None:
    for most, alpha in ((4, 0.05), (8, 0.05), (12, 0.05 / 9)):
        effect = sequential.detectable_effect(most, alpha)
        shown = np.mean(always_valid_p(null(12, looks=most) + effect)[:, -1] < alpha)
        assert shown == pytest.approx(0.8, abs=2 * tolerance(0.8, STUDIES))
    assert sequential.detectable_effect(2) == math.inf
    assert sequential.detectable_effect(3, 0.05 / 9) == math.inf


ARM = np.array([3.761, 3.752, 3.770, 3.758, 3.749])
BASELINE = np.array([3.676, 3.681, 3.690, 3.672, 3.671])


def test_a_comparison_has_the_fields_of_a_paired_one_and_says_that_it_is_sequential() -> None:
    c = compare_sequential(ARM, BASELINE, arm="x", baseline="y", metric="val_loss", margin=0.2, parameters=7)
    fixed = compare_paired(ARM, BASELINE, arm="x", baseline="y", metric="val_loss", margin=0.2, parameters=7)
    same = ("arm", "baseline", "metric", "n", "mean_difference", "effect_size", "sd", "margin", "parameters")
    assert [getattr(c, name) for name in same] == [getattr(fixed, name) for name in same]
    d = ARM - BASELINE
    assert c.p_value == c.p_adjusted == pytest.approx(always_valid_p(d)[-1])
    assert c.ci95 == pytest.approx([ends[-1] for ends in confidence_sequence(d)])
    assert c.p_value > fixed.p_value
    assert c.p_equivalence > fixed.p_equivalence
    assert (c.verdict, c.ci95_bootstrap, c.p_sign_flip) == ("worse", None, None)
    assert "sequential" in c.note
    assert compare_sequential(ARM, BASELINE, lower_is_better=False).verdict == "better"
    assert json.loads(json.dumps(c.to_dict(), allow_nan=False))["ci95"] == list(c.ci95)


def test_equivalence_asks_both_sides() -> None:
    d = np.array([0.085, 0.071, 0.08, 0.086, 0.078])
    zeros = np.zeros(5)
    for sign in (1, -1):
        close = compare_sequential(sign * (d - 0.08), zeros, margin=0.05)
        assert (close.verdict, close.p_equivalence < 0.01) == ("equivalent", True)
        assert compare_sequential(sign * d, zeros, margin=0.05).p_equivalence == 1  # beyond the margin
        between = compare_sequential(sign * d, zeros, margin=0.12)
        assert between.p_equivalence == pytest.approx(always_valid_p(0.12 - d, alternative="greater")[-1])


def test_an_interval_that_is_the_whole_line_is_none() -> None:
    c = compare_sequential(ARM[:2], BASELINE[:2])
    assert (c.n, c.ci95, c.verdict) == (2, None, "inconclusive")
    assert "too few seeds" in c.note
    assert json.loads(json.dumps(c.to_dict(), allow_nan=False))["ci95"] is None
    single = compare_sequential(ARM[:1], BASELINE[:1], margin=0.1)
    assert (single.verdict, single.p_value, single.p_equivalence) == ("none", None, None)


def test_the_evidence_of_an_early_look_stays() -> None:
    d = np.array([1.0, 1.02, 0.98, 1.01, 3.0, -0.5])
    zeros = np.zeros(len(d))
    p = [compare_sequential(d[:n], zeros[:n]).p_value for n in range(2, 7)]
    assert p[2] < 0.005
    assert p[-1] == p[2]
    assert compare_paired(d, zeros).p_value > 0.05


def test_evidence_for_worse_is_never_made_a_verdict_of_better() -> None:
    d = np.array([1.0, 1.01, 0.99, 1.0, -9.0, -9.0])
    c = compare_sequential(d, np.zeros(6))
    assert c.mean_difference < 0
    assert always_valid_p(d)[-1] < 0.005  # on the whole there is a difference, but not this one
    assert (c.verdict, c.p_value > 0.05) == ("inconclusive", True)


def test_an_empty_confidence_sequence_falls_back_to_the_last_look() -> None:
    d = np.array([1.0, 1.001, 0.999, 1.0] + 2 * [-1.0, -1.5, -1.0, -1.2, -0.9, -1.1])
    low, high = confidence_sequence(d)
    assert low[-1] > high[-1]
    c = compare_sequential(d, np.zeros(16))
    assert c.ci95[0] < d.mean() < c.ci95[1]
    for end in c.ci95:
        assert e_process(d - end)[-1] == pytest.approx(20)


@pytest.mark.parametrize("n", [2, 5, 12])
def test_differences_without_spread_are_judged_as_in_a_fixed_study(n: int) -> None:
    baseline = np.linspace(1, 2, n)
    for arm in (baseline, baseline + 0.3):
        assert compare_sequential(arm, baseline, margin=0.5) == compare_paired(arm, baseline, margin=0.5)


def test_looks_without_spread_are_no_evidence() -> None:
    baseline = np.array([1.1, 2.3, 3.7, 1.9, 2.2])
    c = compare_sequential(baseline + np.array([0.3, 0.3, 0.3, 0.3, 0.1]), baseline)  # equal to rounding in four seeds
    assert c.p_value == pytest.approx(1 / e_process([0.3, 0.3, 0.3, 0.3, 0.1])[-1])
    assert e_process([[0.0, 0.0], [2.0, 2.0]]).tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert np.isinf(confidence_sequence(np.full(6, 2.0))[0]).all()


def test_hundreds_of_seeds_overflow_nothing() -> None:
    d = np.random.default_rng(0).normal(5, 1e-3, 900)
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        assert always_valid_p(d)[-1] == 0
        assert always_valid_p(d, alternative="greater")[-1] == 0
        assert always_valid_p(-d, alternative="greater")[-1] == 1


def test_families_are_corrected_as_those_of_fixed_studies() -> None:
    shifted = [compare_sequential(BASELINE + 0.01 * k + ARM - ARM.mean(), BASELINE) for k in (0, 2, 9)]
    corrected = correct_family([*shifted, compare_sequential([1.0], [2.0])])
    assert [c.p_adjusted for c in corrected[:3]] == pytest.approx(list(statistics.holm([c.p_value for c in shifted])))
    assert corrected[3].p_adjusted is None
    assert [c.verdict for c in corrected] == ["inconclusive", "inconclusive", "worse", "none"]


def test_mistakes_are_those_of_a_paired_comparison() -> None:
    with pytest.raises(UserError, match="margin"):
        compare_sequential(ARM, BASELINE, margin=-1.0)
    with pytest.raises(UserError, match="2 and 1 values"):
        compare_sequential([1.0, 2.0], [1.0])
    with pytest.raises(UserError, match="NaN"):
        compare_sequential([1.0, math.nan], [1.0, 2.0])
