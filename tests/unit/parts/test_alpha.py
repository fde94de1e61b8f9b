"""α: the ways of writing it, the courses it takes, the bounds it keeps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.alpha.parse import make_alpha, parse_alpha
from gatewright.parts.part import Dims

DIMS = Dims(n_embd=8, width=12)
X = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0.5, {"name": "static", "value": 0.5}),
        (1, {"name": "static", "value": 1.0}),
        ("static", {"name": "static"}),
        ("static_0.5", {"name": "static", "value": 0.5}),
        ("static_0", {"name": "static", "value": 0.0}),
        ("learnable", {"name": "learnable"}),
        ("learnable_0.3", {"name": "learnable", "start": 0.3}),
        ("scheduler_cosine", {"name": "scheduled", "shape": "cosine"}),
        ("scheduled_cosine", {"name": "scheduled", "shape": "cosine"}),
        ("scheduler_linear", {"name": "scheduled", "shape": "linear"}),
        ("scheduled_hold", {"name": "scheduled", "shape": "hold"}),
        ("scheduled_step", {"name": "scheduled", "shape": "step"}),
        ("input_entropy", {"name": "input", "measure": "entropy"}),
        ("input_confidence", {"name": "input", "measure": "confidence"}),
        ("input_projection", {"name": "input", "measure": "projection"}),
        ({"name": "learnable", "per": "channel"}, {"name": "learnable", "per": "channel"}),
        ({"name": "scheduler_cosine", "end": 0.5}, {"name": "scheduled", "shape": "cosine", "end": 0.5}),
        ({"name": "learnable_0.3", "start": 0.4}, {"name": "learnable", "start": 0.4}),
    ],
)
def test_ways_of_writing(written: Any, meant: dict[str, Any]) -> None:
    assert parse_alpha(written) == meant
    assert isinstance(make_alpha(written, DIMS), Alpha)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("static_half", "alpha=static_half: 'half' is not a number"),
        (
            "scheduler_cosin",
            "alpha 'scheduled'.shape=cosin: not one of cosine, linear, hold, step; did you mean 'cosine'?",
        ),
        ("input_entrop", "did you mean 'entropy'"),
        ("learnabel", "unknown alpha 'learnabel'; did you mean 'learnable'?"),
        (1.5, "alpha.value=1.5: α must be in [0, 1]"),
        (-0.1, "alpha.value=-0.1: α must be in [0, 1]"),
        (math.nan, "must be a finite number"),
        (True, "expected a number, a name"),
        (None, "expected a number, a name"),
        ([0.5], "expected a number, a name"),
        ({"start": 0.5}, "expected a number, a name"),
        ({"name": "learnable", "start": 2.0}, "alpha.start=2.0: α must be in [0, 1]"),
        ({"name": "learnable", "start": 1.0}, "has no gradient under alpha.range=sigmoid; use alpha.range=clamp"),
        ({"name": "learnable", "per": "chanel"}, "did you mean 'channel'?"),
        ({"name": "learnable", "strat": 0.5}, "did you mean 'alpha 'learnable'.start'?"),
        ({"name": "scheduled", "steps": 0}, "alpha.steps=0: must be at least 1"),
        ({"name": "scheduled", "knee": 0.0}, "alpha.knee=0.0: must be in (0, 1]"),
        ({"name": "scheduled", "end": 1.1}, "alpha.end=1.1: α must be in [0, 1]"),
        ({"name": "static", "value": "0.5"}, "expected float, got str"),
    ],
)
def test_mistakes_in_one_line(written: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_alpha(written, DIMS)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.floats(0, 1))
def test_static_is_the_number(value: float) -> None:
    alpha = make_alpha(value, DIMS)
    assert alpha(X).item() == pytest.approx(value, abs=1e-7)
    assert alpha.mean().item() == alpha(X).item()
    assert not list(alpha.parameters())


COURSES = [
    # what each course is at steps 0, 25, 50, 75, 100 and 200 of 100
    ({"shape": "cosine"}, [0, (1 - math.sqrt(0.5)) / 2, 0.5, (1 + math.sqrt(0.5)) / 2, 1, 1]),
    ({"shape": "cosine", "start": 1.0, "end": 0.0}, [1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2, 0, 0]),
    ({"shape": "linear"}, [0, 0.25, 0.5, 0.75, 1, 1]),
    ({"shape": "linear", "start": 0.8, "end": 0.2}, [0.8, 0.65, 0.5, 0.35, 0.2, 0.2]),
    ({"shape": "linear", "steps": 50}, [0, 0.5, 1, 1, 1, 1]),
    ({"shape": "hold"}, [0, 0.5, 1, 1, 1, 1]),
    ({"shape": "hold", "knee": 0.25, "end": 0.6}, [0, 0.6, 0.6, 0.6, 0.6, 0.6]),
    ({"shape": "step"}, [0, 0, 1, 1, 1, 1]),
    ({"shape": "step", "knee": 0.75, "start": 0.1, "end": 0.9}, [0.1, 0.1, 0.1, 0.9, 0.9, 0.9]),
]


@pytest.mark.parametrize(("knobs", "values"), COURSES)
def test_scheduled_courses(knobs: dict[str, Any], values: list[float]) -> None:
    alpha = make_alpha({"name": "scheduled", **knobs}, DIMS)
    for step, value in zip((0, 25, 50, 75, 100, 200), values, strict=True):
        alpha.set_step(step, 100)
        assert alpha(X).item() == pytest.approx(value, abs=1e-6)
        assert alpha.mean().item() == alpha(X).item()


def test_scheduled_value_travels_in_the_state_dict() -> None:
    alpha = make_alpha("scheduler_linear", DIMS)
    alpha.set_step(3, 10)
    state = alpha.state_dict()
    assert state["value"].item() == pytest.approx(0.3)
    other = make_alpha("scheduler_linear", DIMS)
    other.load_state_dict(state)
    assert other(X).item() == alpha(X).item()
    other.reset()
    assert other(X).item() == 0.0


@pytest.mark.parametrize("start", [0.01, 0.3, 0.5, 0.77, 0.99])
@pytest.mark.parametrize("range_", ["sigmoid", "clamp"])
@pytest.mark.parametrize("per", ["layer", "channel", "model"])
def test_learnable_starts_exactly_where_asked(start: float, range_: str, per: str) -> None:
    alpha = make_alpha({"name": "learnable", "start": start, "range": range_, "per": per}, DIMS)
    found = alpha(X)
    assert found.shape == ((12,) if per == "channel" else ())
    # exact but for float32: σ(logit(start)) passes through two roundings
    torch.testing.assert_close(found, torch.full_like(found, start), atol=1e-7, rtol=0)
    assert alpha.cost(5).parameters == (12 if per == "channel" else 1)


def test_default_start_is_a_half_and_not_the_sigmoid_of_a_half() -> None:
    assert make_alpha("learnable", DIMS)(X).item() == 0.5


@pytest.mark.parametrize("range_", ["sigmoid", "clamp"])
@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_learnable_stays_in_the_unit_interval_under_violent_steps(range_: str, optimizer: Any) -> None:
    alpha = make_alpha({"name": "learnable", "range": range_, "per": "channel"}, DIMS)
    steps = optimizer(alpha.parameters(), lr=30.0)
    signs = torch.randn(40, 12, generator=torch.Generator().manual_seed(1))
    seen = []
    for sign in signs:
        steps.zero_grad()
        (100 * sign * alpha(X)).sum().backward()
        steps.step()
        seen.append(alpha(X).detach())
    values = torch.stack(seen)
    assert values.min() >= 0
    assert values.max() <= 1
    assert values.min() < 0.01  # the steps were violent enough to reach both ends
    assert values.max() > 0.99


@pytest.mark.parametrize(("start", "target"), [(0.0, 0.7), (1.0, 0.2)])
def test_clamped_alpha_starts_at_an_edge_and_leaves_it(start: float, target: float) -> None:
    alpha = make_alpha({"name": "learnable", "start": start, "range": "clamp"}, DIMS)
    assert alpha(X).item() == start
    assert descend(alpha, target, steps=200) == pytest.approx(target, abs=1e-3)


@pytest.mark.parametrize(("thrown", "target"), [(-3.0, 0.4), (5.0, 0.6)])
def test_clamped_alpha_comes_back_from_beyond_an_edge(thrown: float, target: float) -> None:
    """Plain clamping has no gradient out there, and α would stay at the edge for ever."""
    alpha = make_alpha({"name": "learnable", "range": "clamp"}, DIMS)
    with torch.no_grad():
        alpha.raw.fill_(thrown)
    assert alpha(X).item() == (0.0 if thrown < 0 else 1.0)
    assert descend(alpha, target, steps=500) == pytest.approx(target, abs=1e-3)


def test_clamped_alpha_is_not_driven_further_out() -> None:
    alpha = make_alpha({"name": "learnable", "start": 1.0, "range": "clamp"}, DIMS)
    with torch.no_grad():
        alpha.raw.fill_(1.2)
    (-alpha(X)).backward()  # descent would raise α
    assert alpha.raw.grad.item() == 0.0


def descend(alpha: Alpha, target: float, steps: int) -> float:
    optimizer = torch.optim.SGD(alpha.parameters(), lr=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        (alpha(X) - target).square().backward()
        optimizer.step()
    return float(alpha(X))


def test_entropy_and_confidence_of_the_input() -> None:
    even, peaked = torch.zeros(1, 8), torch.tensor([[50.0] + [0.0] * 7])
    p = torch.tensor([0.5, 0.25, 0.125, 0.125])  # H = 1.75 bit of 2
    for measure, values in (("entropy", (1.0, 0.0, 0.875)), ("confidence", (0.0, 1.0, (0.5 - 0.25) / 0.75))):
        alpha = make_alpha(f"input_{measure}", Dims(n_embd=8))
        for x, value in zip((even, peaked, p.log()[None]), values, strict=True):
            found = alpha(x)
            assert found.shape == (1, 1)
            assert found.item() == pytest.approx(value, abs=1e-6)


def test_projection_starts_at_the_same_value_for_every_token_and_then_differs() -> None:
    alpha = make_alpha({"name": "input", "start": 0.3}, DIMS)
    alpha.projection.reset_parameters()
    torch.testing.assert_close(alpha(X), torch.full((2, 3, 1), 0.3), atol=1e-7, rtol=0)
    with torch.no_grad():
        alpha.projection.weight.fill_(0.5)
    expected = torch.sigmoid(0.5 * X.sum(-1, keepdim=True) + math.log(0.3 / 0.7))
    torch.testing.assert_close(alpha(X), expected, atol=1e-6, rtol=0)


def test_mean_of_an_input_alpha_is_that_of_the_last_training_batch() -> None:
    alpha = make_alpha("input_entropy", DIMS).train()
    assert math.isnan(alpha.mean().item())
    expected = alpha(X).mean().item()
    alpha.eval()
    alpha(torch.zeros(1, 8))
    assert alpha.mean().item() == pytest.approx(expected)


def test_labels_tell_kinds_and_numbers_apart() -> None:
    written: list[Any] = [
        0.5, 0.25, "learnable", "learnable_0.3", {"name": "learnable", "per": "channel"}, "scheduler_cosine",
        "scheduled_linear", {"name": "scheduled", "start": 1.0, "end": 0.0}, "input_entropy", "input_projection",
    ]  # fmt: skip
    labels = [make_alpha(each, DIMS).label for each in written]
    assert len(set(labels)) == len(labels)
