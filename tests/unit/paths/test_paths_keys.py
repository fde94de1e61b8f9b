"""Random numbers keyed by place, and the similarity that draws lots with them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

import gatewright as gw
from gatewright.paths import draw_keys, uniform
from gatewright.paths.keys import _mix

N = 5
PATHS = torch.arange(N)


def test_it_is_splitmix64() -> None:
    """The first outputs of the published generator for the state 1234567."""
    state, increment = 1234567, 0x9E3779B97F4A7C15
    states = [(state + k * increment) % 2**64 for k in range(5)]
    found = _mix(torch.from_numpy(np.array(states, dtype=np.uint64).view(np.int64))).numpy().view(np.uint64)
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    assert found.tolist() == published


def test_a_key_depends_on_its_place_alone() -> None:
    whole = draw_keys(7, torch.arange(10)[:, None], PATHS, 3)
    assert whole.shape == (10, N)
    assert torch.equal(draw_keys(7, torch.tensor([[8], [2]]), PATHS, 3), whole[[8, 2]])
    assert draw_keys(7, 8, 4, 3).item() == whole[8, 4].item()
    assert draw_keys(-1, -5, 2**62).item() != draw_keys(-1, -4, 2**62).item()


def test_keys_of_different_places_differ() -> None:
    """Also where coordinates are swapped, and between seeds: 40,000 keys of 64 bits have no collision."""
    grid = [
        draw_keys(seed, torch.arange(20)[:, None, None], torch.arange(10)[:, None], torch.arange(100))
        for seed in (0, 1)
    ]
    assert torch.stack(grid).unique().numel() == 40_000
    assert draw_keys(0, 1, 2).item() != draw_keys(0, 2, 1).item()


def test_uniform_numbers() -> None:
    u = uniform(draw_keys(0, torch.arange(200)[:, None], torch.arange(500))).double()
    assert u.min() >= 0
    assert u.max() < 1
    assert stats.kstest(u.flatten().numpy(), "uniform").pvalue > 0.01
    for a, b in ((u[:, :-1], u[:, 1:]), (u[:-1], u[1:])):  # neighbours in both directions
        assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 4 / np.sqrt(a.numel())


def chosen(keys: torch.Tensor, live: torch.Tensor | None = None) -> torch.Tensor:
    """Whom each path hears, ``(B, N)``."""
    similarity = gw.make_similarity("random_peer")
    s = similarity.similarity(torch.zeros(*keys.shape, 3), keys=keys)
    live = torch.ones(keys.shape, dtype=torch.bool) if live is None else live
    return similarity.attention(s, live).argmax(-1)


def test_every_live_peer_is_drawn_equally_often() -> None:
    keys = draw_keys(0, torch.arange(4000)[:, None], PATHS, 0)
    live = torch.ones(4000, N, dtype=torch.bool)
    live[:, 3] = False
    found = chosen(keys, live)
    for i, others in ((0, [1, 2, 4]), (4, [0, 1, 2])):
        counts = np.bincount(found[:, i].numpy(), minlength=N)
        assert counts.sum() == counts[others].sum()
        assert stats.chisquare(counts[others]).pvalue > 0.01


def test_draws_of_different_paths_and_steps_are_independent() -> None:
    first = chosen(draw_keys(0, torch.arange(4000)[:, None], PATHS, 0))
    second = chosen(draw_keys(0, torch.arange(4000)[:, None], PATHS, 1))
    for a, b in ((first[:, 0], second[:, 0]), (first[:, 0], first[:, 1])):
        table = stats.contingency.crosstab(a.numpy(), b.numpy()).count
        assert stats.chi2_contingency(table).pvalue > 0.01


def test_a_draw_does_not_depend_on_the_rest_of_the_batch() -> None:
    questions = torch.arange(50)
    whole = chosen(draw_keys(0, questions[:, None], PATHS, 9))
    torch.manual_seed(123)
    some = torch.tensor([31, 4, 17])
    assert torch.equal(chosen(draw_keys(0, questions[some][:, None], PATHS, 9)), whole[some])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_lots_do_not_depend_on_the_precision_of_the_model(dtype: torch.dtype) -> None:
    keys = draw_keys(0, torch.arange(20)[:, None], PATHS, 9)
    s = gw.make_similarity("random_peer").similarity(torch.zeros(20, N, 3, dtype=dtype), keys=keys)
    assert s.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.equal(
        s.argmax(-1), gw.make_similarity("random_peer").similarity(torch.zeros(20, N, 3), keys=keys).argmax(-1)
    )
