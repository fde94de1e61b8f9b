"""Advantages, weights of tokens, and the losses, against their definitions."""

from __future__ import annotations

import math

import pytest
import torch

from gatewright.rl.learning.advantages import EPSILON, group_advantages, shuffled, zero_variance
from gatewright.rl.learning.objective import divergence, policy_gradient, token_weights


def test_advantages_are_relative_to_the_group() -> None:
    rewards = torch.tensor([[1.0, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    sigma = math.sqrt(0.25 * 0.75)
    found = group_advantages(rewards)
    torch.testing.assert_close(found[0], (rewards[0] - 0.25) / (sigma + EPSILON))
    torch.testing.assert_close(found[1], torch.tensor([1.0, 1, -1, -1]) * 0.5 / (0.5 + EPSILON))
    assert not found[2].any()
    torch.testing.assert_close(group_advantages(rewards, normalise=False)[0], rewards[0] - 0.25)
    assert zero_variance(rewards).tolist() == [False, False, True]


def test_equal_rewards_of_any_size_have_no_advantage() -> None:
    assert not group_advantages(torch.full((3, 7), 0.1)).abs().gt(1e-3).any()


def test_shuffling_permutes_within_groups_and_repeats() -> None:
    rewards = torch.arange(4000.0).view(500, 8)
    first = shuffled(rewards, 3)
    assert torch.equal(first.sort(-1).values, rewards)
    assert torch.equal(first, shuffled(rewards, 3))
    assert not torch.equal(first, shuffled(rewards, 4))
    places = first.sub(rewards[:, :1]).mean(0)  # every path is as likely to get any of the rewards
    torch.testing.assert_close(places, torch.full((8,), 3.5), atol=0.4, rtol=0)


MASK = torch.tensor([[[1, 1, 1, 1], [1, 0, 0, 0]]], dtype=torch.bool)


@pytest.mark.parametrize(
    ("normalisation", "long", "short"),
    [("token", 1 / 5, 1 / 5), ("sequence", 1 / 8, 1 / 2), ("constant", 1 / 20, 1 / 20)],
)
def test_weights_of_tokens(normalisation: str, long: float, short: float) -> None:
    weights = token_weights(MASK, normalisation, paths=2, tokens=5, max_new_tokens=10)  # type: ignore[arg-type]
    assert weights[0, 0].tolist() == pytest.approx([long] * 4)
    assert weights[0, 1].tolist() == pytest.approx([short, 0, 0, 0])


def test_the_plain_policy_gradient() -> None:
    log_probs = torch.tensor([[[-1.0, -2.0], [-3.0, -0.5]]], requires_grad=True)
    advantages = torch.tensor([[2.0, -1.0]])
    losses, clipped = policy_gradient(log_probs, advantages, log_probs.detach() - 5, None)
    (gradient,) = torch.autograd.grad(losses.sum(), log_probs)
    assert gradient.tolist() == [[[-2.0, -2.0], [1.0, 1.0]]]
    assert not clipped.any()


def test_clipping_keeps_gradients_from_where_the_ratio_has_gone_far_enough() -> None:
    ratios = torch.tensor([0.5, 0.95, 1.0, 1.05, 1.5])
    log_probs = ratios.log()[None, None].repeat(1, 2, 1).requires_grad_()
    advantages = torch.tensor([[1.0, -1.0]])
    losses, clipped = policy_gradient(log_probs, advantages, torch.zeros(1, 2, 5), 0.2)
    assert losses[0, 0].tolist() == pytest.approx([-0.5, -0.95, -1.0, -1.05, -1.2])
    assert losses[0, 1].tolist() == pytest.approx([0.8, 0.95, 1.0, 1.05, 1.5])
    assert clipped[0].tolist() == [[False] * 4 + [True], [True] + [False] * 4]
    (gradient,) = torch.autograd.grad(losses.sum(), log_probs)
    torch.testing.assert_close(gradient[0, 0], -ratios * torch.tensor([1, 1, 1, 1, 0]))
    torch.testing.assert_close(gradient[0, 1], ratios * torch.tensor([0, 1, 1, 1, 1]))


def test_the_divergence_is_unbiased_and_never_negative() -> None:
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(6, generator=generator).log_softmax(-1) for _ in range(2))
    each = divergence(p, q)
    assert (each >= 0).all()
    assert (p.exp() * each).sum().item() == pytest.approx((p.exp() * (p - q)).sum().item(), abs=1e-6)
    assert not divergence(p, p).any()
