"""The blend of a path's own token with what it hears: formula, the places where nothing may change, gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import gatewright as gw
from gatewright.errors import UserError
from gatewright.paths import attend, blend, blend_logits

N, D = 4, 6
LIVE = torch.tensor([[True, True, False, True], [False, True, False, False]])


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def attention(live: Tensor = LIVE, dtype: torch.dtype = torch.float64) -> Tensor:
    return attend(randn(*live.shape, N, seed=1, dtype=dtype), live, 0.5)


def bits(x: Tensor) -> Tensor:
    """The bit pattern: torch.equal holds −0 and 0 for the same."""
    return x.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()])


def test_the_formula() -> None:
    e, a = randn(2, N, D), attention()
    h = blend(e, a, LIVE, 0.3).numpy()
    for b, i in np.ndindex(2, N):
        own = e[b, i].numpy()
        if b == 0 and LIVE[b, i]:
            heard = sum(a[b, i, j].item() * e[b, j].numpy() for j in range(N))
            np.testing.assert_allclose(h[b, i], 0.7 * own + 0.3 * heard, atol=1e-14)
        else:
            assert (h[b, i] == own).all()  # not thinking any more, or the last one that is


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_nothing_changes_bit_by_bit_where_nothing_is_heard(dtype: torch.dtype) -> None:
    e = randn(2, N, D, dtype=torch.float64).to(dtype)
    e[..., 0] = -0.0
    e[0, 2, 1], e[1, 0, 2] = float("nan"), float("inf")  # rows of paths that are gone
    a = attention(dtype=torch.float32)
    h = blend(e, a, LIVE, 0.3)
    assert h.dtype == dtype
    still = ~(LIVE & (LIVE.sum(-1, keepdim=True) > 1))
    assert torch.equal(bits(h)[still], bits(e)[still])
    assert h[~still].isfinite().all()
    assert not torch.equal(h[~still], e[~still])
    assert torch.equal(bits(blend(e, a, LIVE, 0.0)), bits(e))
    assert torch.equal(bits(blend(e, a, LIVE, torch.zeros(2, N))), bits(e))
    assert torch.equal(bits(blend(e, torch.zeros_like(a), LIVE, 0.3)), bits(e))


def test_without_a_gate_nothing_changes_and_nothing_is_drawn() -> None:
    e, rows, live = randn(1, N, D), randn(1, N, 9).log_softmax(-1), torch.ones(1, N, dtype=torch.bool)
    none = gw.make_similarity("none")
    before = torch.get_rng_state()
    a = none.attention(none.similarity(rows), live)
    assert torch.equal(bits(blend(e, a, live, 0.5)), bits(e))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_path_that_has_finished_since_keeps_its_token_whatever_its_row_of_attention_says() -> None:
    e, everybody = randn(2, N, D), torch.ones(2, N, dtype=torch.bool)
    h = blend(e, attention(everybody), LIVE, 0.3)
    assert torch.equal(h[~LIVE], e[~LIVE])
    assert not torch.equal(h[LIVE], e[LIVE])


def test_paths_that_sampled_the_same_token_are_left_with_it() -> None:
    e = randn(1, 1, D, dtype=torch.float32).expand(1, N, D)
    live = torch.ones(1, N, dtype=torch.bool)
    torch.testing.assert_close(blend(e, attention(live, torch.float32), live, 0.3), e, atol=1e-6, rtol=0)


def test_a_weight_for_each_path() -> None:
    e, a = randn(2, N, D), attention()
    weight = torch.tensor([[0.1, 0.0, 0.9, 0.5], [0.2, 0.2, 0.2, 0.2]])
    h = blend(e, a, LIVE, weight)
    for i, value in enumerate((0.1, 0.0, 0.9, 0.5)):
        torch.testing.assert_close(h[0, i], blend(e, a, LIVE, value)[0, i], atol=1e-7, rtol=0)  # weights are float32
    assert torch.equal(bits(h[0, 1]), bits(e[0, 1]))


def test_half_precision_adds_up_in_float32() -> None:
    """Also under autocast: the result is float32's, rounded once."""
    e, live = randn(1, N, D).bfloat16(), torch.ones(1, N, dtype=torch.bool)
    a = attention(live, torch.float32)
    expected = blend(e.float(), a, live, 0.1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(blend(e, a, live, 0.1), expected)


def test_gradients_are_those_of_finite_differences() -> None:
    e, s = randn(2, N, D).requires_grad_(), randn(2, N, N, seed=1).requires_grad_()
    weight = torch.full((2, N), 0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: blend(x[0], attend(x[1], LIVE, 0.5), LIVE, x[2]), (e, s, weight))
    logits = randn(2, N, 7).requires_grad_()
    assert torch.autograd.gradcheck(lambda *x: blend_logits(x[0], attend(x[1], LIVE, 0.5), LIVE, 0.3), (logits, s))


def test_a_nan_of_a_path_that_is_gone_reaches_no_gradient() -> None:
    e, a = randn(2, N, D), attention().detach().requires_grad_()
    e[~LIVE] = float("nan")
    e.requires_grad_()
    weight = torch.full((2, N), 0.3, requires_grad=True)
    blend(e, a, LIVE, weight)[LIVE].square().sum().backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in (e, a, weight))
    assert a.grad is not None
    assert a.grad.any()


@pytest.mark.parametrize("weight", [-0.1, 1.5, float("nan")])
def test_a_weight_outside_of_its_range(weight: float) -> None:
    for function in (blend, blend_logits):
        with pytest.raises(UserError, match=f"blend_weight={weight}: must be in"):
            function(randn(2, N, D), attention(), LIVE, weight)


def test_blended_logits_are_a_geometric_mean() -> None:
    logits, a = randn(2, N, 9), attention()
    p = logits.softmax(-1)
    found = blend_logits(logits, a, LIVE, 0.4).softmax(-1)
    product = p[0, 0] ** 0.6 * torch.stack([p[0, j] ** (0.4 * a[0, 0, j]) for j in range(N)]).prod(0)
    torch.testing.assert_close(found[0, 0], product / product.sum())
    shifted = blend_logits(logits + 50 * randn(2, N, 1, seed=7), a, LIVE, 0.4).softmax(-1)
    torch.testing.assert_close(shifted, found, atol=1e-12, rtol=0)
    assert torch.equal(blend_logits(logits, a, LIVE, 0.4)[1], logits[1])
    assert torch.equal(blend_logits(logits, a, LIVE, 0.0), logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_token_that_a_heard_path_rules_out_is_ruled_out(dtype: torch.dtype) -> None:
    logits, live = randn(1, N, 9).to(dtype), torch.tensor([[True, True, False, True]])
    logits[0, 1, 3] = logits[0, 2, 5] = float("-inf")  # heard by 0 and 3; of a path that is gone
    h = blend_logits(logits.requires_grad_(), attention(live, torch.float32), live, 0.4)
    p = h.float().softmax(-1)
    assert p[0, [0, 1, 3], 3].tolist() == [0, 0, 0]
    assert (p[0, [0, 1, 3], 5] > 0).all()
    assert torch.equal(h[0, 2], logits[0, 2])
    p[0, 0, 4].log().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("name", ["luong", "bahdanau"])
@pytest.mark.parametrize("place", ["embeddings", "logits"])
def test_a_loss_on_what_was_blended_reaches_the_gate_and_only_it(name: str, place: str) -> None:
    """The log-probability of sampled tokens under blended logits, or a loss on blended embeddings."""
    gate = gw.make_similarity(name, n_embd=D, rank=2) if name == "luong" else gw.make_similarity(name, n_embd=D)
    for parameter in gate.parameters():
        torch.nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(1))
    logits, table = randn(2, N, 9, dtype=torch.float32).requires_grad_(), randn(9, D, dtype=torch.float32)
    live = torch.ones(2, N, dtype=torch.bool)
    a = gate.attention(gate.similarity(logits.log_softmax(-1), table=table), live)
    if place == "logits":
        tokens = torch.arange(2 * N).reshape(2, N)
        mixed = blend_logits(logits.detach(), a, live, 0.1).log_softmax(-1)
        loss = mixed.gather(-1, tokens[..., None]).sum()
    else:
        loss = blend(table[torch.arange(2 * N).reshape(2, N)], a, live, 0.1).square().sum()
    loss.backward()
    assert logits.grad is None
    for parameter in gate.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
        assert parameter.grad.any()


def test_a_gate_learns_nothing_where_all_tokens_are_the_same_or_there_is_one_peer() -> None:
    """Why N ≥ 3 and forks are needed: a single peer has weight 1 whatever its score, and equal tokens blend to one."""
    for n, tokens in ((2, [0, 1]), (4, [3, 3, 3, 3]), (4, [0, 1, 2, 3])):
        s = randn(1, n, n, seed=2).requires_grad_()
        live = torch.ones(1, n, dtype=torch.bool)
        e = randn(9, D)[torch.tensor([tokens])]
        blend(e, attend(s, live, 0.5), live, 0.1).pow(3).sum().backward()
        assert s.grad is not None
        learns = s.grad.abs().max().item()
        assert learns > 1e-4 if len(set(tokens)) > 2 else learns < 1e-12
