"""Temperatures calibrated to a number of effective peers."""

from __future__ import annotations

import math

import pytest
import torch

import gatewright as gw
from gatewright.errors import UserError
from gatewright.paths import attend, calibrate_temperature, effective_peers

LIVE = torch.ones(20, 6, dtype=torch.bool)
LIVE[:5, 4:] = False
LIVE[5] = False
LIVE[6, 1:] = False
ROWS = (2 * torch.randn(20, 6, 200, generator=torch.Generator().manual_seed(0))).log_softmax(-1)


def mean_peers(s: torch.Tensor, temperature: float) -> float:
    """exp(H(A)) averaged over the paths that have a live peer."""
    found = effective_peers(attend(s.double(), LIVE, temperature))
    return found[LIVE & (LIVE.sum(-1, keepdim=True) > 1)].mean().item()


@pytest.mark.parametrize("name", ["cosine", "raw_dot", "scaled_dot", "jsd", "bhattacharyya"])
@pytest.mark.parametrize("target", [1.1, 2.5, 4.0])
def test_the_target_is_met(name: str, target: float) -> None:
    s = gw.make_similarity(name).similarity(ROWS)
    temperature = calibrate_temperature(s, LIVE, target)
    assert mean_peers(s, temperature) == pytest.approx(target, abs=1e-6)


def test_the_calibrated_similarity_matches_another_one() -> None:
    """What calibration is for: scaled_dot with cosine's number of effective peers."""
    cosine, scaled = gw.make_similarity("cosine", temperature=0.1), gw.make_similarity("scaled_dot", temperature=0.1)
    target = mean_peers(cosine.similarity(ROWS), 0.1)
    s = scaled.similarity(ROWS)
    assert mean_peers(s, 0.1) > target + 0.5
    scaled.temperature.fill_(calibrate_temperature(s, LIVE, target))
    found = effective_peers(scaled.attention(s, LIVE))[LIVE & (LIVE.sum(-1, keepdim=True) > 1)].mean().item()
    assert found == pytest.approx(target, abs=1e-4)


def test_scores_scaled_by_ten_want_ten_times_the_temperature() -> None:
    s = gw.make_similarity("cosine").similarity(ROWS)
    temperature = calibrate_temperature(s, LIVE, 3.0)
    assert calibrate_temperature(10 * s, LIVE, 3.0) == pytest.approx(10 * temperature, rel=1e-5)
    assert calibrate_temperature(s + 5, LIVE, 3.0) == pytest.approx(temperature, rel=1e-4)


def test_what_paths_that_are_gone_hold_does_not_matter() -> None:
    s = gw.make_similarity("cosine").similarity(ROWS)
    dirty = s.masked_fill(~(LIVE[:, :, None] & LIVE[:, None, :]), float("nan"))
    assert calibrate_temperature(dirty, LIVE, 3.0) == calibrate_temperature(s, LIVE, 3.0)


@pytest.mark.parametrize("target", [0.5, 1.0, 5.0, 7.0, math.nan])
def test_a_target_out_of_reach_is_an_error_that_says_what_is_in_reach(target: float) -> None:
    s = gw.make_similarity("cosine").similarity(ROWS)
    with pytest.raises(UserError, match=r"no temperature gives .* effective peers: they range from 1 to 4\.592"):
        calibrate_temperature(s, LIVE, target)


def test_scores_that_are_all_alike_and_paths_without_peers() -> None:
    with pytest.raises(UserError, match="no path has live peers that differ"):
        calibrate_temperature(torch.ones(3, 3), torch.ones(3, dtype=torch.bool), 1.5)
    with pytest.raises(UserError, match="no path has live peers that differ"):
        calibrate_temperature(torch.ones(3, 3), torch.tensor([True, False, False]), 1.5)


def test_paths_that_have_no_choice_do_not_count() -> None:
    """Where all have said the same, all are heard alike whatever T is."""
    s = gw.make_similarity("cosine").similarity(ROWS)
    rounding = 1e-7 * torch.randn(30, 6, 6, generator=torch.Generator().manual_seed(1))
    more, live = torch.cat((s, 1 + rounding)), torch.cat((LIVE, torch.ones(30, 6, dtype=torch.bool)))
    assert calibrate_temperature(more, live, 3.0) == calibrate_temperature(s, LIVE, 3.0)


def test_ties_bound_what_can_be_reached() -> None:
    """Two peers that share the first place share attention at any temperature."""
    s = torch.tensor([[0.0, 0.7, 0.7, 0.1], [0.7, 0.0, 0.7, 0.1], [0.7, 0.7, 0.0, 0.1], [0.5, 0.5, 0.1, 0.0]])
    live = torch.ones(4, dtype=torch.bool)
    with pytest.raises(UserError, match="from 2 to 3"):
        calibrate_temperature(s, live, 1.9)
    assert effective_peers(
        attend(s.double(), live, calibrate_temperature(s, live, 2.001))
    ).mean().item() == pytest.approx(2.001)
