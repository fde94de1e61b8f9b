"""Similarities beside their formulas: in NumPy and SciPy, in float64, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax

import gatewright as gw
from gatewright.contract.subject import keys_of
from gatewright.registry import list_parts

Array = np.ndarray
B, N, V, D = 3, 5, 300, 12
LOGITS = np.random.default_rng(0).normal(size=(B, N, V)) * 3
P = np.exp(log_softmax(LOGITS, axis=-1))
TABLE = np.random.default_rng(1).normal(size=(V, D))
U = P @ TABLE

VECTORS = {
    "cosine": lambda x, y: x @ y / (np.linalg.norm(x) * np.linalg.norm(y)),
    "raw_dot": lambda x, y: x @ y,
    "scaled_dot": lambda x, y: x @ y / np.sqrt(len(x)),
}
DISTRIBUTIONS = {
    "jsd": lambda p, q: 1 - jensenshannon(p, q, base=2),
    "bhattacharyya": lambda p, q: np.sqrt(p * q).sum(),
}


def pairwise(formula: object, x: Array) -> Array:
    return np.array([[[formula(a, b) for b in group] for a in group] for group in x])  # type: ignore[operator]


def run(similarity: torch.nn.Module, dtype: torch.dtype = torch.float64) -> Array:
    log_probs = torch.from_numpy(LOGITS).log_softmax(-1).to(dtype)
    return similarity.similarity(log_probs, table=torch.from_numpy(TABLE).to(dtype)).detach().numpy()


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_on_the_vocabulary_and_on_embeddings(name: str) -> None:
    np.testing.assert_allclose(run(gw.make_similarity(name)), pairwise(VECTORS[name], P), atol=1e-13)
    embedded = gw.make_similarity(name, space="embeddings")
    np.testing.assert_allclose(run(embedded), pairwise(VECTORS[name], U), atol=1e-13)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name: str) -> None:
    np.testing.assert_allclose(run(gw.make_similarity(name)), pairwise(DISTRIBUTIONS[name], P), atol=1e-13)


@pytest.mark.parametrize(("name", "formula"), (VECTORS | DISTRIBUTIONS).items())
def test_float32_is_near(name: str, formula: object) -> None:
    found = run(gw.make_similarity(name), torch.float32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, pairwise(formula, P), atol=1e-6)


@pytest.mark.parametrize("space", ["embeddings", "vocabulary"])
def test_luong_is_a_bilinear_form_of_low_rank(space: str) -> None:
    similarity = gw.make_similarity("luong", n_embd=D, vocab_size=V, rank=4, space=space).double()
    torch.nn.init.normal_(similarity.key.weight, generator=torch.Generator().manual_seed(0))
    w = (similarity.query.weight.T @ similarity.key.weight).detach().numpy()
    assert np.linalg.matrix_rank(w) == 4
    x = U if space == "embeddings" else P
    np.testing.assert_allclose(run(similarity), pairwise(lambda a, b: a @ w @ b, x), atol=1e-12)


@pytest.mark.parametrize("space", ["embeddings", "vocabulary"])
def test_bahdanau_is_a_small_network_on_each_pair(space: str) -> None:
    similarity = gw.make_similarity("bahdanau", n_embd=D, vocab_size=V, hidden=6, space=space).double()
    torch.nn.init.normal_(similarity.score.weight, generator=torch.Generator().manual_seed(0))
    w1, w2 = (layer.weight.detach().numpy() for layer in (similarity.query, similarity.key))
    v = similarity.score.weight.detach().numpy()[0]
    x = U if space == "embeddings" else P
    np.testing.assert_allclose(run(similarity), pairwise(lambda a, b: v @ np.tanh(w1 @ a + w2 @ b), x), atol=1e-12)


def test_controls() -> None:
    log_probs, live = torch.from_numpy(LOGITS).log_softmax(-1), torch.ones(B, N, dtype=torch.bool)
    off = 1 - np.eye(N)
    for name, expected in (("none", 0 * off), ("peer_mean", off / (N - 1))):
        similarity = gw.make_similarity(name)
        found = similarity.attention(similarity.similarity(log_probs), live)
        np.testing.assert_allclose(found.numpy(), np.broadcast_to(expected, (B, N, N)), atol=1e-15)
    drawn = gw.make_similarity("random_peer")
    one = drawn.attention(drawn.similarity(log_probs, keys=keys_of(log_probs)), live).numpy()
    assert set(np.unique(one)) == {0.0, 1.0}
    assert (one.sum(-1) == 1).all()
    assert (one.diagonal(axis1=1, axis2=2) == 0).all()


def test_this_table_is_the_table() -> None:
    ours = {*VECTORS, *DISTRIBUTIONS, "luong", "bahdanau", "none", "peer_mean", "random_peer"}
    assert set(list_parts("similarity")) == ours
