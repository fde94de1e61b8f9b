"""Gates beside the table of forms, written out in NumPy with numbers of their own.

| form     | output                      |
| gate     | a ⊙ [α φ(b) + (1 − α)]      |
| blend    | α σ(b) + (1 − α) φ(a)       |
| skip     | α (σ(b) ⊙ a) + (1 − α) x    |
| preserve | φ(a) ⊙ [1 − α + α σ(b)]     |
| self_…   | the same with b = a         |
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import expit
from test_formulas_activations import FORMULAS

from gatewright.parts.gates.forms import FORMS, find_form
from gatewright.parts.part import Dims
from gatewright.registry import create, entries

Array = np.ndarray
Phi = Callable[[Array], Array]

UNITS = {
    "paglu": "sigmoid", "pareglu": "relu", "pagelu": "gelu", "pamishu": "mish", "pasilu": "silu",
    "paswishu": "swish", "pagtu": "tanh",
}  # fmt: skip
GLUS = {"glu": "sigmoid", "reglu": "relu", "geglu": "gelu", "swiglu": "silu", "bilinear": "identity"}

FORM: dict[str, Callable[[Array, Array, Array, float, Phi], Array]] = {
    "gate": lambda a, b, x, alpha, phi: a * (alpha * phi(b) + (1 - alpha)),
    "blend": lambda a, b, x, alpha, phi: alpha * expit(b) + (1 - alpha) * phi(a),
    "skip": lambda a, b, x, alpha, phi: alpha * (expit(b) * a) + (1 - alpha) * x,
    "preserve": lambda a, b, x, alpha, phi: phi(a) * (1 - alpha + alpha * expit(b)),
}
A, B, X = np.random.default_rng(0).normal(size=(3, 2, 5, 16)) * 2


def run(name: str, *streams: Array, **knobs: object) -> Array:
    gate = create("gate", {"name": name, **knobs}, Dims(16)).double()
    return gate(*map(torch.from_numpy, streams)).detach().numpy()


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("form", FORM)
@pytest.mark.parametrize("unit", UNITS)
def test_two_stream_forms(unit: str, form: str, alpha: float) -> None:
    expected = FORM[form](A, B, X, alpha, FORMULAS[UNITS[unit]])
    np.testing.assert_allclose(run(unit, A, B, X, form=form, alpha=alpha), expected, atol=1e-7)


@pytest.mark.parametrize("form", FORM)
def test_self_forms_use_the_value_stream_alone(form: str) -> None:
    expected = FORM[form](A, A, X, 0.3, FORMULAS["gelu"])
    found = run("pagelu", A, A, X, form=f"self_{form}", alpha=0.3)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_own_forms() -> None:
    """Without a form the units are a ⊙ [α φ(b) + 1 − α], and paGTU is tanh(a) ⊙ [α σ(b) + 1 − α]."""
    for unit, activation in UNITS.items():
        expected = np.tanh(A) * (0.7 * expit(B) + 0.3) if unit == "pagtu" else A * (0.7 * FORMULAS[activation](B) + 0.3)
        np.testing.assert_allclose(run(unit, A, B, X, alpha=0.7), expected, atol=1e-7)


@pytest.mark.parametrize("activation", list(FORMULAS))
def test_paunit_takes_any_activation(activation: str) -> None:
    expected = A * (0.4 * FORMULAS[activation](B) + 0.6)
    np.testing.assert_allclose(run("paunit", A, B, X, activation=activation, alpha=0.4), expected, atol=1e-6)


@pytest.mark.parametrize(("name", "activation"), GLUS.items())
def test_glu_family(name: str, activation: str) -> None:
    np.testing.assert_allclose(run(name, A, B, X), A * FORMULAS[activation](B), atol=1e-12)


def test_this_table_is_the_table() -> None:
    assert set(FORMS) == set(FORM) | {f"self_{form}" for form in FORM}
    assert find_form("self") is FORMS["self_preserve"]
    ours = {name for name, e in entries("gate").items() if e.target.__module__.startswith("gatewright.")}
    assert ours == {*UNITS, *GLUS, "paunit"}


def layer_norm(x: Array) -> Array:
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)


@pytest.mark.parametrize("place", ["before", "after"])
@pytest.mark.parametrize("form", FORM)
def test_gate_norm_stands_before_or_after_the_gates_activation(form: str, place: str) -> None:
    """Only what is applied to b is normed: φ in `gate`, σ in the others; never φ(a), x or a."""
    phi = np.tanh

    def gated(function: Phi) -> Array:
        return function(layer_norm(B)) if place == "before" else layer_norm(function(B))

    expected = {
        "gate": A * (0.3 * gated(phi) + 0.7),
        "blend": 0.3 * gated(expit) + 0.7 * phi(A),
        "skip": 0.3 * (gated(expit) * A) + 0.7 * X,
        "preserve": phi(A) * (0.7 + 0.3 * gated(expit)),
    }[form]
    found = run("paunit", A, B, X, activation="tanh", form=form, gate_norm=place, alpha=0.3)
    np.testing.assert_allclose(found, expected, atol=1e-7)


def test_gate_norm_after_lets_the_gate_be_negative() -> None:
    """The documented effect: a sigmoid gate is positive, its LayerNorm is not."""
    ones = np.ones_like(A)
    assert run("paglu", ones, B, X, alpha=1.0).min() > 0
    assert run("paglu", ones, B, X, alpha=1.0, gate_norm="after").min() < 0
