"""The three ways to the experts and back give the same sums, and capacity turns away whom it should."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gatewright.parts.feedforward import dispatch
from gatewright.parts.feedforward.routing import Router, Routing
from gatewright.parts.part import Dims

B, T, D = 3, 7, 6


def experts_of(n: int, dtype: torch.dtype = torch.float64) -> nn.ModuleList:
    """Affine, so that an empty place (a row of zeros) does not come out as zero."""
    generator = torch.Generator().manual_seed(3)
    experts = nn.ModuleList(nn.Sequential(nn.Linear(D, D), nn.Tanh()) for _ in range(n)).to(dtype)
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.copy_(torch.empty_like(parameter).normal_(generator=generator))
    return experts


def routed(n_experts: int, top_k: int, x: Tensor) -> tuple[Router, Routing]:
    router = Router(Dims(D), n_experts, top_k, normalise=top_k > 1).to(x.dtype)
    nn.init.normal_(router.projection.weight, generator=torch.Generator().manual_seed(4))
    return router, router(x)


def inputs() -> Tensor:
    return torch.randn(B, T, D, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def run(way: str, x: Tensor, routing: Routing, experts: nn.ModuleList) -> Tensor:
    if way == "within_capacity":
        y, served = dispatch.within_capacity(x, routing, experts, capacity=T)
        assert served.all()
        return y
    return getattr(dispatch, way)(x, routing, experts)  # type: ignore[no-any-return]


@pytest.mark.parametrize("way", ["dense", "dropless", "within_capacity"])
@pytest.mark.parametrize(("n_experts", "top_k"), [(4, 1), (4, 2), (5, 5), (40, 3)])
def test_each_token_gets_the_weighted_sum_of_its_experts(way: str, n_experts: int, top_k: int) -> None:
    x, experts = inputs(), experts_of(n_experts)
    _, routing = routed(n_experts, top_k, x)
    y = run(way, x, routing, experts)
    for b in range(B):
        for t in range(T):
            choices = zip(routing.chosen[b, t].tolist(), routing.weights[b, t], strict=True)
            expected = sum(weight * experts[e](x[b, t]) for e, weight in choices)
            torch.testing.assert_close(y[b, t], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("n_experts", "top_k"), [(4, 1), (4, 2), (40, 3)])
def test_gradients_agree(n_experts: int, top_k: int) -> None:
    gradients = {}
    for way in ("dense", "dropless", "within_capacity"):
        x, experts = inputs().requires_grad_(), experts_of(n_experts)
        router, routing = routed(n_experts, top_k, x)
        run(way, x, routing, experts).square().sum().backward()
        gradients[way] = [x.grad, router.projection.weight.grad, *(p.grad for p in experts.parameters())]
    for way in ("dropless", "within_capacity"):
        for ours, reference in zip(gradients[way], gradients["dense"], strict=True):
            # 40 experts for 63 choices: some have no token, and still a gradient (of zeros), as optimizers and
            # gradient synchronisation want it
            torch.testing.assert_close(ours, reference, rtol=0, atol=1e-11)


def all_to(*experts_by_token: tuple[int, ...], n_experts: int = 3) -> Routing:
    """A routing of the same tokens in two sequences, the second in reverse order; equal weights."""
    chosen = torch.tensor(experts_by_token)
    chosen = torch.stack([chosen, chosen.flip(0)])
    top_k = chosen.shape[-1]
    return Routing(torch.zeros(*chosen.shape[:2], n_experts), chosen, torch.full(chosen.shape, 1 / top_k))


def test_a_full_expert_turns_away_later_tokens() -> None:
    experts = experts_of(3, torch.float32)
    x = torch.randn(2, 4, D, generator=torch.Generator().manual_seed(6))
    routing = all_to((0,), (0,), (1,), (0,))
    y, served = dispatch.within_capacity(x, routing, experts, capacity=2)
    assert served.squeeze(-1).tolist() == [[True, True, True, False], [True, True, True, False]]
    assert torch.equal(y[:, 3], torch.zeros(2, D))
    torch.testing.assert_close(y[0, :3], torch.stack([experts[0](x[0, 0]), experts[0](x[0, 1]), experts[1](x[0, 2])]))


def test_a_token_may_lose_one_of_its_choices() -> None:
    experts = experts_of(3, torch.float32)
    x = torch.randn(2, 3, D, generator=torch.Generator().manual_seed(7))
    y, served = dispatch.within_capacity(x, all_to((0, 1), (1, 0), (0, 2)), experts, capacity=2)
    assert served[0].tolist() == [[True, True], [True, True], [False, True]]
    torch.testing.assert_close(y[0, 2], 0.5 * experts[2](x[0, 2]))


def test_nobody_is_turned_away_for_a_later_token_or_another_sequence() -> None:
    x, experts = inputs(), experts_of(4)
    _, routing = routed(4, 2, x)
    y, served = dispatch.within_capacity(x, routing, experts, capacity=2)
    assert not served.all()
    prefix = Routing(*(part[:, :4] for part in routing))
    torch.testing.assert_close(dispatch.within_capacity(x[:, :4], prefix, experts, 2)[0], y[:, :4], rtol=0, atol=1e-12)
    alone = Routing(*(part[1:2] for part in routing))
    torch.testing.assert_close(dispatch.within_capacity(x[1:2], alone, experts, 2)[0], y[1:2], rtol=0, atol=1e-12)


def test_dropped_tokens_get_no_gradient() -> None:
    x = torch.randn(2, 4, D, requires_grad=True, generator=torch.Generator().manual_seed(8))
    y, _ = dispatch.within_capacity(x, all_to((0,), (0,), (1,), (0,)), experts_of(3, torch.float32), capacity=2)
    y.square().sum().backward()
    assert x.grad[:, 3].eq(0).all()
    assert x.grad[:, :3].abs().sum(-1).gt(0).all()
