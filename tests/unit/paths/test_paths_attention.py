"""Attention over the other live paths."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewright.paths import attend, effective_peers, entropy, token_entropy
from gatewright.paths.attention import listeners, peers


def scores(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.floats(0.01, 10.0))
def test_paths_that_are_gone_might_as_well_not_have_been_there(live: list[bool], temperature: float) -> None:
    """The weights among live paths are a softmax over them alone, written out; all others are 0."""
    n = len(live)
    s, alive = scores(n, n), [i for i in range(n) if live[i]]
    a = attend(s, torch.tensor(live), temperature)
    for i in range(n):
        heard = [j for j in alive if j != i] if live[i] else []
        weights = [math.exp((s[i, j] - max(s[i, k] for k in heard)) / temperature) for j in heard]
        for j in range(n):
            expected = weights[heard.index(j)] / sum(weights) if j in heard else 0.0
            assert a[i, j].item() == pytest.approx(expected, abs=1e-12)


def test_nobody_to_hear() -> None:
    s = scores(3, 4, 4).requires_grad_()
    live = torch.tensor([[False, True, False, False], [False] * 4, [True, True, False, False]])
    a = attend(s, live, 0.1)
    assert torch.equal(a[:2], torch.zeros(2, 4, 4, dtype=torch.float64))
    assert a[2].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way either
        a.square().sum().backward()
    assert s.grad is not None
    assert torch.equal(s.grad, torch.zeros_like(s))  # one peer gets all, whatever its score


def test_what_paths_that_are_gone_hold_reaches_neither_result_nor_gradient() -> None:
    live = torch.tensor([True, False, True, True])
    clean = scores(4, 4).requires_grad_()
    dirty = clean.detach().clone()
    dirty[1], dirty[:, 1] = float("nan"), float("inf")
    dirty.requires_grad_()
    for s in (clean, dirty):
        attend(s, live, 0.3)[0].square().sum().backward()
    torch.testing.assert_close(attend(dirty, live, 0.3), attend(clean, live, 0.3), atol=0, rtol=0)
    torch.testing.assert_close(dirty.grad, clean.grad, atol=0, rtol=0)
    assert clean.grad is not None
    assert clean.grad.any()


def test_gradients_are_those_of_finite_differences() -> None:
    live = torch.tensor([[True, True, True, False], [True, False, False, False]])
    s = scores(2, 4, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: attend(x, live, 0.5), (s,))


@pytest.mark.parametrize("temperature", [1e-3, 1e3])
def test_extreme_temperatures(temperature: float) -> None:
    s, live = scores(5, 5), torch.ones(5, dtype=torch.bool)
    a = attend(s, live, temperature)
    torch.testing.assert_close(a.sum(-1), torch.ones(5, dtype=torch.float64))
    if temperature < 1:
        best = s.masked_fill(torch.eye(5, dtype=torch.bool), -math.inf).argmax(-1)
        assert torch.equal(a.argmax(-1), best)
        assert (a.amax(-1) > 0.999).all()
    else:
        torch.testing.assert_close(a, (1 - torch.eye(5, dtype=torch.float64)) / 4, atol=1e-3, rtol=0)


def test_many_steps_at_once() -> None:
    """(B, T, N, N) is as good as (N, N) one after another."""
    s, live = scores(2, 3, 4, 4), torch.rand(2, 3, 4, generator=torch.Generator().manual_seed(1)) < 0.7
    a = attend(s, live, 0.2)
    for b in range(2):
        for t in range(3):
            torch.testing.assert_close(a[b, t], attend(s[b, t], live[b, t], 0.2), atol=0, rtol=0)


def test_who_hears_whom() -> None:
    live = torch.tensor([True, False, True])
    assert peers(live).tolist() == [[False, False, True], [False] * 3, [True, False, False]]
    assert listeners(attend(torch.zeros(3, 3), live, 1.0)).tolist() == [True, False, True]


def test_entropies() -> None:
    a = torch.tensor([[0.0, 0.5, 0.5, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3, 0.0]])
    torch.testing.assert_close(entropy(a), torch.tensor([math.log(2), 0, 0, math.log(3)]))
    torch.testing.assert_close(effective_peers(a), torch.tensor([2.0, 1, 1, 3]))
    rows = torch.tensor([[0.25, 0.25, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0]]).log()
    torch.testing.assert_close(token_entropy(rows), torch.tensor([1.5 * math.log(2), 0.0]))
