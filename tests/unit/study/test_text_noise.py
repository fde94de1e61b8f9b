"""The noise that the choice of validation text brings into a difference."""

from __future__ import annotations

import numpy as np
import pytest

from gatewright.study.text_noise import text_error


def test_it_is_the_spread_over_texts() -> None:
    """Many texts are drawn; the estimate from each one is the standard deviation of the difference over all."""
    draw = np.random.default_rng(0)
    differences, estimates = [], []
    for _ in range(400):
        tokens = draw.integers(50, 129, size=320)
        level = draw.normal(0.02, 0.05, size=320)  # of the difference, a sequence
        b = draw.normal(3.5, 0.3, size=(3, 320)) * tokens
        a = b + (level + draw.normal(0, 0.01, size=(3, 320))) * tokens
        table = lambda nll, tokens=tokens: np.stack([nll, np.broadcast_to(tokens, nll.shape)], axis=-1)  # noqa: E731
        differences.append(((a - b).mean(axis=0).sum()) / tokens.sum())
        estimates.append(text_error(table(a), table(b)))
    assert np.mean(estimates) == pytest.approx(np.std(differences), rel=0.1)


def test_neighbours_that_are_alike_count_once() -> None:
    draw = np.random.default_rng(1)
    documents = np.repeat(draw.normal(0, 1, size=32), 10)  # ten sequences a document, all the same
    tokens = np.ones(320)
    a = np.stack([documents, tokens], axis=-1)[None]
    b = np.stack([np.zeros(320), tokens], axis=-1)[None]
    assert text_error(a, b) == pytest.approx(np.std(documents[::10], ddof=1) / np.sqrt(32))


def test_equal_arms_have_none_and_one_sequence_tells_nothing() -> None:
    a = np.array([[[3.0, 1.0], [4.0, 1.0]]])
    assert text_error(a, a) == 0
    assert text_error(a[:, :1], a[:, :1]) is None
