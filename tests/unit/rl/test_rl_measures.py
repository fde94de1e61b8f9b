"""Intervals, pass@k and votes against known values."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest

from gatewright.errors import UserError
from gatewright.rl.measures import majority_vote, pass_at_k, wilson_interval


def test_wilson_against_newcombe_1998() -> None:
    # Newcombe, Statistics in Medicine 17, table I, method 3
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert wilson_interval(20, 20)[1] == 1.0


def test_wilson_refuses_what_is_no_share() -> None:
    for successes, count in ((1, 0), (-1, 3), (4, 3)):
        with pytest.raises(UserError):
            wilson_interval(successes, count)
    with pytest.raises(UserError, match="confidence=95"):
        wilson_interval(1, 2, confidence=95)


def test_pass_at_k_is_the_unbiased_estimator() -> None:
    correct, samples = np.arange(9), np.full(9, 8)
    for k in (1, 3, 8):
        exact = [1 - comb(8 - c, k) / comb(8, k) for c in range(9)]
        np.testing.assert_allclose(pass_at_k(correct, samples, k), exact, rtol=0, atol=1e-12)
    np.testing.assert_allclose(pass_at_k([2, 5], 10, 1), [0.2, 0.5], atol=1e-12)
    assert pass_at_k(1, 200, 100) == pytest.approx(0.5, abs=1e-12)


def test_pass_at_k_refuses_what_it_cannot_estimate() -> None:
    for k in (0, 5):
        with pytest.raises(UserError, match=f"k={k}"):
            pass_at_k([1], [4], k)
    with pytest.raises(UserError, match="correct"):
        pass_at_k([5], [4], 1)


def test_votes_and_their_ties() -> None:
    answers = [["a", "b", "b"], ["b", "a", "a", "b"], [None, None, "c"], [None], [], ["x", None, None]]
    assert majority_vote(answers).tolist() == [1, 0, 2, -1, -1, 0]
