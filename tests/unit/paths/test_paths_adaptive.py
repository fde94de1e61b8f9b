"""The blend weight that follows a path's own doubt."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from gatewright.errors import UserError
from gatewright.paths import AdaptiveWeight, blend

LIVE = torch.tensor([[True, True, False], [True, True, True]])
H = torch.tensor([[1.0, 2.0, 50.0], [0.5, 3.0, 1.5]])


def test_halfway_before_anything_was_seen() -> None:
    weight = AdaptiveWeight(minimum=0.1, maximum=0.3)
    torch.testing.assert_close(weight(H), torch.full_like(H, 0.2))


def test_the_formula_after_one_step() -> None:
    weight = AdaptiveWeight(minimum=0.05, maximum=0.25, softness=0.7)
    weight.observe(H, LIVE)
    seen = H[LIVE].double().numpy()
    z = (H.double().numpy() - seen.mean()) / (seen.std() * 0.7)
    np.testing.assert_allclose(weight(H).numpy(), 0.05 + 0.2 / (1 + np.exp(-z)), rtol=1e-5)
    assert weight(H)[1, 1] > weight(H)[1, 0]  # more doubt, more listening


def test_running_moments_follow_steps_by_their_momentum() -> None:
    weight, second = AdaptiveWeight(momentum=0.25), H + 4
    weight.observe(H, LIVE)
    weight.observe(second, LIVE)
    mean = 0.75 * H[LIVE].mean() + 0.25 * second[LIVE].mean()
    square = 0.75 * H[LIVE].square().mean() + 0.25 * second[LIVE].square().mean()
    torch.testing.assert_close((weight.mean, weight.square), (mean, square))


def test_a_step_without_live_paths_moves_nothing() -> None:
    weight = AdaptiveWeight()
    nobody = torch.zeros_like(LIVE)
    weight.observe(H, nobody)
    torch.testing.assert_close(weight(H), torch.full_like(H, 0.1))
    weight.observe(H, LIVE)
    before = weight(H)
    weight.observe(H + 9, nobody)
    assert torch.equal(weight(H), before)


def test_entropies_that_do_not_vary() -> None:
    weight = AdaptiveWeight(minimum=0.0, maximum=0.2)
    weight.observe(torch.full((2, 3), 1.5), LIVE)
    found = weight(torch.tensor([1.0, 1.5, 2.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.1, 0.2]))


def test_what_it_has_seen_is_saved() -> None:
    weight, loaded = AdaptiveWeight(), AdaptiveWeight()
    weight.observe(H, LIVE)
    loaded.load_state_dict(safetensors.torch.load(safetensors.torch.save(weight.state_dict())))
    assert torch.equal(loaded(H), weight(H))


def test_it_stays_in_range_and_feeds_the_blend() -> None:
    weight = AdaptiveWeight(minimum=0.0, maximum=1.0)
    weight.observe(H, LIVE)
    extremes = weight(torch.tensor([[-1e6, 0.0, 1e6], [1.0, 1.0, 1.0]]))
    assert extremes.min() == 0
    assert extremes.max() == 1
    e = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    a = torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]).expand(2, 3, 3)
    live = torch.ones(2, 3, dtype=torch.bool)
    h = blend(e, a, live, extremes)
    assert torch.equal(h[0, 0], e[0, 0])
    torch.testing.assert_close(h[0, 2], (e[0, 0] + e[0, 1]) / 2)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"minimum": 0.3, "maximum": 0.2}, "want 0 ≤ minimum ≤ maximum ≤ 1"),
        ({"maximum": 1.2}, "adaptive.maximum=1.2"),
        ({"softness": 0.0}, "adaptive.softness=0.0: must be positive"),
        ({"momentum": 0.0}, "adaptive.momentum=0.0: must be in"),
    ],
)
def test_mistakes(knobs: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        AdaptiveWeight(**knobs)
