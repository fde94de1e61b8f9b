"""The router's choices and its two losses."""

from __future__ import annotations

import math

import pytest
import torch

from gatewright.parts.feedforward.routing import Router, balance_loss, router_z_loss
from gatewright.parts.part import Dims


def make_router(top_k: int = 2, normalise: bool = True) -> Router:
    router = Router(Dims(8), n_experts=5, top_k=top_k, normalise=normalise)
    torch.nn.init.normal_(router.projection.weight, generator=torch.Generator().manual_seed(1))
    return router


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


def test_chooses_the_likeliest_experts() -> None:
    router, x = make_router(), draw(2, 6, 8)
    routing = router(x)
    probabilities = torch.softmax(x @ router.projection.weight.T, -1)
    for b, t in [(0, 0), (1, 3), (1, 5)]:
        best = sorted(range(5), key=lambda e: -probabilities[b, t, e])[:2]
        assert routing.chosen[b, t].tolist() == best
        kept = probabilities[b, t, best]
        torch.testing.assert_close(routing.weights[b, t], kept / kept.sum())
    assert routing.assigned().sum(-1).eq(1).all()
    assert routing.assigned()[0, 0, 1, routing.chosen[0, 0, 1]]


def test_without_normalisation_weights_are_the_probabilities() -> None:
    router, x = make_router(top_k=1, normalise=False), draw(2, 6, 8)
    weights = router(x).weights
    torch.testing.assert_close(weights, torch.softmax(x @ router.projection.weight.T, -1).amax(-1, keepdim=True))


def test_stays_in_float32_under_autocast() -> None:
    router, x = make_router(), draw(4, 32, 8)
    with torch.autocast("cpu", torch.bfloat16):
        lowered = router(x)
    assert torch.equal(lowered.logits, router(x).logits)
    assert lowered.weights.dtype == torch.float32


def test_low_precision_inputs_are_routed_in_float32() -> None:
    router, x = make_router().bfloat16(), draw(2, 6, 8).bfloat16()
    routing = router(x)
    torch.testing.assert_close(routing.logits, x.float() @ router.projection.weight.float().T)
    assert make_router().double()(draw(1, 2, 8).double()).logits.dtype == torch.float64


def test_balance_loss_is_one_at_even_load_and_grows_with_skew() -> None:
    even = balance_loss(torch.zeros(2, 8, 4), torch.tensor([8, 8, 8, 8]))
    assert even.item() == pytest.approx(1.0)
    # expert 0 has half of all choices and, everywhere, probability 1/2; the others share the rest
    logits = torch.log(torch.tensor([3.0, 1.0, 1.0, 1.0])).expand(2, 8, 4)
    skewed = balance_loss(logits, torch.tensor([16, 8, 4, 4]))
    assert skewed.item() == pytest.approx(4 * (0.5 * 0.5 + 0.5 / 6))
    collapsed = balance_loss(torch.tensor([100.0, 0.0, 0.0, 0.0]).expand(2, 8, 4), torch.tensor([32, 0, 0, 0]))
    assert collapsed.item() == pytest.approx(4.0)


def test_balance_loss_moves_probability_off_the_busy_expert() -> None:
    logits = torch.zeros(1, 8, 3, requires_grad=True)
    balance_loss(logits, torch.tensor([6, 1, 1])).backward()
    gradient = logits.grad.sum((0, 1))
    assert gradient[0] > 0 > gradient[1]
    assert gradient[1].item() == pytest.approx(gradient[2].item())


def test_z_loss() -> None:
    assert router_z_loss(torch.zeros(2, 3, 4)).item() == pytest.approx(math.log(4) ** 2)
    assert router_z_loss(torch.full((2, 3, 4), 10.0)).item() == pytest.approx((10 + math.log(4)) ** 2)
