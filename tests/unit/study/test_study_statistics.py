"""The statistics against scipy and statsmodels on fixed data, and in degenerate cases."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW, ttost_paired

from gatewright.errors import UserError
from gatewright.study import statistics
from gatewright.study.statistics import Comparison, compare_paired, correct_family, decide, hedges_gz

ARM = np.array([3.761, 3.752, 3.770, 3.758, 3.749])
BASELINE = np.array([3.676, 3.681, 3.690, 3.672, 3.671])
D = ARM - BASELINE


def test_comparison_agrees_with_scipy_and_statsmodels() -> None:
    c = compare_paired(ARM, BASELINE, arm="x", baseline="y", metric="val_loss", margin=0.1)
    reference = stats.ttest_rel(ARM, BASELINE)
    assert c.n == 5
    assert c.mean_difference == pytest.approx(D.mean())
    assert c.p_value == pytest.approx(reference.pvalue, rel=1e-12)
    assert c.ci95 == pytest.approx(DescrStatsW(D).tconfint_mean(0.05), rel=1e-12)
    assert c.p_equivalence == pytest.approx(ttost_paired(ARM, BASELINE, -0.1, 0.1)[0], rel=1e-12)
    assert c.sd == pytest.approx(D.std(ddof=1))
    assert c.p_adjusted == c.p_value  # a family of one


def test_sign_flip_p_is_the_enumeration() -> None:
    d = np.array([0.3, -0.1, 0.4, 0.25, 0.05, 0.2])
    means = [np.mean(d * signs) for signs in itertools.product((-1, 1), repeat=len(d))]
    expected = np.mean(np.abs(means) >= abs(d.mean()) - 1e-12)
    assert statistics.sign_flip_p(d) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_sign_flip_p_cannot_go_below_its_floor(n: int) -> None:
    assert statistics.sign_flip_p(np.linspace(1, 2, n)) == pytest.approx(2 / 2**n)


def test_hedges_correction_is_the_exact_one() -> None:
    # J(4) = 1 / (sqrt(2) * Gamma(3/2)) = 0.797885 (Hedges 1981, table 2, gives .7979)
    assert hedges_gz(D) / (D.mean() / D.std(ddof=1)) == pytest.approx(0.797885, abs=1e-6)


def test_effect_size_is_undefined_at_two_seeds() -> None:
    assert np.isnan(hedges_gz(D[:2]))
    assert compare_paired(ARM[:2], BASELINE[:2]).effect_size is None


def test_bootstrap_interval_is_scipys_and_repeats() -> None:
    low, high = statistics.bootstrap_interval(D)
    reference = stats.bootstrap((D,), np.mean, n_resamples=9_999, method="BCa", rng=np.random.default_rng(0))
    assert (low, high) == tuple(reference.confidence_interval)
    assert statistics.bootstrap_interval(D) == (low, high)


def test_holm_on_a_textbook_family() -> None:
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_family_correction_changes_verdicts_only_through_adjusted_p() -> None:
    baseline = np.array([3.71, 3.69, 3.70, 3.72, 3.68])
    spread = np.array([0.5, -1.5, -0.5, 1.5, 0.0]) * 1e-3
    close = [compare_paired(baseline + spread + shift, baseline) for shift in (2.5e-3, 2.0e-3, 1.5e-3, 0.5e-3)]
    family = correct_family(close)
    expected = statistics.holm([c.p_value for c in close])
    assert [c.p_adjusted for c in family] == pytest.approx(list(expected))
    assert [c.p_value for c in family] == [c.p_value for c in close]
    assert [c.verdict for c in close] == ["worse", "worse", "worse", "inconclusive"]
    lost = [(one, whole) for one, whole in zip(close, family, strict=True) if one.verdict != whole.verdict]
    assert lost, "the example is meant to hold a difference that does not survive correction"
    for one, whole in lost:
        assert one.p_value < 0.05 <= whole.p_adjusted
        assert (one.verdict, whole.verdict) == ("worse", "inconclusive")


def test_untestable_comparisons_do_not_count_in_the_family() -> None:
    single = compare_paired([1.0], [2.0])
    tested = compare_paired(ARM, BASELINE)
    adjusted = correct_family([single, tested])
    assert adjusted[0].p_adjusted is None
    assert adjusted[0].verdict == "none"
    assert adjusted[1].p_adjusted == tested.p_value


@pytest.mark.parametrize(
    ("mean", "p", "p_equivalence", "lower", "verdict"),
    [
        (-0.1, 0.01, None, True, "better"),
        (0.1, 0.01, None, True, "worse"),
        (-0.1, 0.01, None, False, "worse"),
        (0.1, 0.01, None, False, "better"),
        (0.1, 0.2, 0.01, True, "equivalent"),
        (0.1, 0.2, 0.2, True, "inconclusive"),
        (0.1, 0.2, None, True, "inconclusive"),
        (0.1, 0.01, 0.01, True, "worse"),  # a shown difference is not "the same", however small
        (0.1, 0.05, None, True, "inconclusive"),  # the level itself is not below the level
    ],
)
def test_verdicts(mean: float, p: float, p_equivalence: float | None, lower: bool, verdict: str) -> None:
    assert decide(5, mean, p, p_equivalence, lower_is_better=lower) == verdict


def test_no_verdict_from_one_seed() -> None:
    c = compare_paired([3.5], [3.7], margin=1.0)
    assert (c.verdict, c.ci95, c.p_value, c.p_adjusted, c.effect_size) == ("none", None, None, None, None)
    assert c.mean_difference == pytest.approx(-0.2)
    assert decide(1, -0.2, 0.0, 0.0) == "none"


def test_verdict_of_a_clear_difference_and_of_a_clear_tie() -> None:
    assert compare_paired(ARM, BASELINE).verdict == "worse"
    assert compare_paired(ARM, BASELINE, lower_is_better=False).verdict == "better"
    wobble = np.array([0.001, -0.001, 0.002, -0.002, 0.0])
    tie = compare_paired(BASELINE + wobble, BASELINE, margin=0.01)
    assert tie.verdict == "equivalent"
    assert compare_paired(BASELINE + wobble, BASELINE).verdict == "inconclusive"


def test_a_small_but_certain_difference_says_that_it_lies_within_the_margin() -> None:
    c = compare_paired(BASELINE + 0.003 + 1e-4 * np.array([1, -1, 0, 1, -1]), BASELINE, margin=0.02)
    assert c.verdict == "worse"
    assert c.within_margin


def test_identical_runs_are_equivalent_within_any_margin() -> None:
    c = compare_paired(BASELINE, BASELINE, margin=1e-6)
    assert (c.verdict, c.p_value, c.ci95, c.effect_size) == ("equivalent", 1.0, (0.0, 0.0), None)
    assert "identical" in c.note
    assert compare_paired(BASELINE, BASELINE).verdict == "inconclusive"  # no margin was stated


@pytest.mark.parametrize("n", [3, 5])
def test_a_constant_difference_is_left_to_the_sign_flip_test(n: int) -> None:
    # accuracies of coarse resolution can differ by the same step in every seed; sd = 0 is then no certainty
    c = compare_paired(BASELINE[:n] + 0.01, BASELINE[:n], margin=0.02)
    assert c.p_value == pytest.approx(2 / 2**n)
    assert c.ci95 == (c.mean_difference, c.mean_difference)
    assert c.effect_size is None
    assert c.p_equivalence == pytest.approx(1 / 2**n)
    assert c.verdict == ("inconclusive" if n == 3 else "equivalent")


def test_rounding_does_not_pass_for_spread() -> None:
    b = np.array([1.1, 2.3, 3.7])
    a = b + 0.3
    assert (a - b).std() > 0  # not exactly constant in binary
    assert compare_paired(a, b).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ([1.0, 2.0], [1.0], "2 and 1 values"),
        ([], [], "no pair"),
        ([1.0, math.nan], [1.0, 2.0], "NaN"),
        ([1.0, math.inf], [1.0, 2.0], "NaN or infinite"),
        ([[1.0], [2.0]], [[1.0], [2.0]], "one-dimensional"),
    ],
)
def test_unpairable_values_are_refused(a: list, b: list, words: str) -> None:
    with pytest.raises(UserError, match=words):
        compare_paired(a, b)


@pytest.mark.parametrize("margin", [0.0, -1.0, math.nan])
def test_a_margin_must_be_positive(margin: float) -> None:
    with pytest.raises(UserError, match="margin"):
        compare_paired(ARM, BASELINE, margin=margin)


def test_the_sign_flip_test_can_be_asked_for() -> None:
    c = compare_paired(ARM, BASELINE, test="sign_flip")
    assert c.p_value == c.p_sign_flip == pytest.approx(0.0625)
    assert c.verdict == "inconclusive"


def test_to_dict_holds_exactly_the_promised_fields_and_is_json() -> None:
    for c in (compare_paired(ARM, BASELINE, parameters=10, baseline_parameters=11), compare_paired([1.0], [2.0])):
        values = c.to_dict()
        assert set(values) == {
            "arm", "baseline", "metric", "n", "mean_difference", "ci95", "p_value", "p_adjusted", "effect_size",
            "verdict", "parameters", "baseline_parameters",
        }  # fmt: skip
        assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_percent_is_relative_to_the_baseline() -> None:
    c = compare_paired([2.2, 2.3], [2.0, 2.0])
    assert isinstance(c, Comparison)
    assert c.percent(c.mean_difference) == pytest.approx(12.5)
