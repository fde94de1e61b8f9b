"""Activations beside their published formulas, computed by NumPy and SciPy in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import erf, expit, log1p

from gatewright.parts.part import Dims
from gatewright.registry import create, entries

FORMULAS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": lambda x: x / 2 * (1 + erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "identity": lambda x: x,
    "mish": lambda x: x * np.tanh(log1p(np.exp(x))),
    "prelu": lambda x: np.maximum(x, 0) + 0.25 * np.minimum(x, 0),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": expit,
    "silu": lambda x: x * expit(x),
    "swish": lambda x: x * expit(x),
    "tanh": np.tanh,
    # a₊ = a₋ = 0.8 and β = 0.5 at the start
    "xielu": lambda x: np.where(x > 0, 0.8 * x**2 + 0.5 * x, 0.8 * (np.expm1(np.minimum(x, 0)) - x) + 0.5 * x),
}
X = np.concatenate([np.linspace(-8, 8, 161), [-1e-9, 1e-9]])


@pytest.mark.parametrize("name", FORMULAS)
def test_activation(name: str) -> None:
    activation = create("activation", name, Dims(8)).double()
    found = activation(torch.from_numpy(X)).detach().numpy()
    # learnable parameters start in float32, 6e-8 away from 0.8
    np.testing.assert_allclose(found, FORMULAS[name](X), atol=1e-14, rtol=1e-6)


def test_the_table_knows_every_activation_of_this_package() -> None:
    ours = {name for name, e in entries("activation").items() if e.target.__module__.startswith("gatewright.")}
    assert set(FORMULAS) == ours


@pytest.mark.parametrize(
    ("spec", "formula"),
    [
        ({"name": "prelu", "slope": -0.5}, lambda x: np.where(x > 0, x, -0.5 * x)),
        ({"name": "swish", "beta": 3.0}, lambda x: x * expit(3 * x)),
        ({"name": "xielu", "start": 1.5, "beta": 1.0},
         lambda x: np.where(x > 0, 1.5 * x**2 + x, 1.5 * (np.expm1(np.minimum(x, 0)) - x) + x)),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_knobs_of_activations(spec: dict[str, object], formula: Callable[[np.ndarray], np.ndarray]) -> None:
    found = create("activation", spec, Dims(8)).double()(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(found, formula(X), atol=1e-14, rtol=1e-6)
