"""Similarities: what is known to hold between them, edges of their numerics, and making them by name."""

from __future__ import annotations

import math
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import gatewright as gw
from gatewright.errors import UserError
from gatewright.paths.similarities import jsd as jsd_module
from gatewright.registry import find, list_parts

PARAMETER_FREE = ["cosine", "raw_dot", "scaled_dot", "jsd", "bhattacharyya", "peer_mean"]
LARGE = 151_936


def log_probs(*shape: int, scale: float = 2.0, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return (scale * logits).log_softmax(-1)


def similarity_of(name: str, rows: Tensor, **knobs: Any) -> Tensor:
    return gw.make_similarity(name, **knobs).similarity(rows)


def divergence(rows: Tensor) -> Tensor:
    """JSD in bits of all pairs, without any subtraction of large numbers: Σ a/4 [(1+t) ln(1+t) + (1−t) ln(1−t)]."""
    p = rows.double().exp()
    a = p[..., :, None, :] + p[..., None, :, :]
    t = (p[..., :, None, :] - p[..., None, :, :]) / a
    terms = a / 4 * (torch.xlogy(1 + t, 1 + t) + torch.xlogy(1 - t, 1 - t))
    return terms.sum(-1) / math.log(2)


@given(st.integers(0, 10_000), st.floats(0.01, 30.0), st.integers(2, 60))
def test_jsd_is_bounded_by_the_squared_hellinger_distance(seed: int, scale: float, v: int) -> None:
    """``ln 2 · H² ≤ JSD ≤ H²`` in nats, where H² = 1 − BC: the left is met by disjoint, the right by near rows."""
    rows = log_probs(4, v, scale=scale, seed=seed, dtype=torch.float64)
    jsd = (1 - similarity_of("jsd", rows)).square() * math.log(2)
    hellinger = 1 - similarity_of("bhattacharyya", rows)
    assert (jsd <= hellinger + 1e-12).all()
    assert (jsd >= math.log(2) * hellinger - 1e-12).all()


@given(st.integers(0, 10_000), st.floats(0.01, 10.0))
def test_the_root_of_jsd_is_a_metric(seed: int, scale: float) -> None:
    distance = 1 - similarity_of("jsd", log_probs(5, 20, scale=scale, seed=seed, dtype=torch.float64))
    direct, detour = distance[:, None, :], distance[:, :, None] + distance[None, :, :]
    assert (direct <= detour + 1e-9).all()


def test_scaled_dot_is_raw_dot_at_a_higher_temperature() -> None:
    rows, live = log_probs(2, 6, 50), torch.ones(2, 6, dtype=torch.bool)
    raw, scaled = similarity_of("raw_dot", rows), similarity_of("scaled_dot", rows)
    torch.testing.assert_close(scaled, raw / math.sqrt(50))
    hot = gw.make_similarity("raw_dot", temperature=0.1 * math.sqrt(50))
    cold = gw.make_similarity("scaled_dot", temperature=0.1)
    torch.testing.assert_close(cold.attention(scaled, live), hot.attention(raw, live))


def test_scaled_dot_on_a_large_vocabulary_is_peer_mean_at_the_usual_temperature() -> None:
    """Scores differ by 1/√V at most, here 0.0026; divided by T = 0.1 that is 0.026: weights within 2.6 % of equal."""
    rows = torch.full((1, 4, LARGE), -30.0)
    rows[0, [0, 1, 2, 3], [7, 7, 7, 8]] = 10.0  # three paths agree for certain, one does not
    rows, live = rows.log_softmax(-1), torch.ones(1, 4, dtype=torch.bool)
    similarity = gw.make_similarity("scaled_dot", temperature=0.1)
    s = similarity.similarity(rows)
    assert s.max() <= 1 / math.sqrt(LARGE) + 1e-9
    a = similarity.attention(s, live)
    even = (1 - torch.eye(4)) / 3
    assert ((a[0] - even).abs() <= 0.026 * even).all()
    choosy = gw.make_similarity("raw_dot", temperature=0.1)
    assert choosy.attention(choosy.similarity(rows), live)[0, 0, 1] > 0.499  # the same scores, not divided


def test_ends_of_the_scale() -> None:
    """1 for the same distribution, 0 for distributions without a token in common."""
    rows = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.2, 0.8]]).log()
    for name in ("cosine", "jsd", "bhattacharyya"):
        s = similarity_of(name, rows)
        torch.testing.assert_close(s, torch.tensor([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", [*PARAMETER_FREE, "luong", "bahdanau"])
def test_at_a_first_fork_every_similarity_is_peer_mean(name: str) -> None:
    """Until the first token that differs all paths expect the same, so that there is nothing to choose by.

    In float64, because products of equal rows may differ in their last bit, and here they are large.
    """
    similarity = gw.make_similarity(name, n_embd=8).double()
    for parameter in similarity.parameters():
        torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(1))
    rows = log_probs(1, 1, 40).expand(1, 5, 40).double()
    table = torch.randn(40, 8, generator=torch.Generator().manual_seed(2)).double()
    a = similarity.attention(similarity.similarity(rows, table=table), torch.ones(1, 5, dtype=torch.bool))
    torch.testing.assert_close(a[0], (1 - torch.eye(5).double()) / 4, atol=1e-9, rtol=0)


@pytest.mark.parametrize("scale", [0.0, 0.5, 3.0, 30.0])
@pytest.mark.parametrize("v", [3, 50, 30_000])
def test_jsd_of_identical_rows_is_exactly_zero(v: int, scale: float) -> None:
    rows = log_probs(3, 1, v, scale=scale).expand(3, 6, v).contiguous().requires_grad_()
    s = gw.make_similarity("jsd")(rows)
    assert torch.equal(s, torch.ones(3, 6, 6))
    s.sum().backward()
    assert torch.equal(rows.grad, torch.zeros_like(rows))


def test_a_vector_of_zeros_is_like_nothing() -> None:
    """An expected embedding of 0 has no direction: its cosine is 0 and not NaN."""
    rows = log_probs(1, 3, 4).requires_grad_()
    s = gw.make_similarity("cosine", space="embeddings")(rows, table=torch.zeros(4, 5))
    assert torch.equal(s, torch.zeros(1, 3, 3))
    s.sum().backward()
    assert rows.grad is not None
    assert rows.grad.isfinite().all()


@pytest.mark.parametrize("name", ["jsd", "bhattacharyya"])
def test_what_is_at_most_one_is_so_to_the_last_bit(name: str) -> None:
    """Rounding alone would take some of these beyond 1, where 1 − S has no root."""
    rows = log_probs(50, 1, 300).expand(50, 3, 300)
    assert similarity_of(name, rows).max() <= 1


def test_jsd_on_a_large_vocabulary() -> None:
    """In float32, over many tiles, near and far: the error of the divergence stays near float32's resolution."""
    far = log_probs(3, LARGE)
    near = (log_probs(1, LARGE) + 1e-2 * log_probs(3, LARGE, seed=5)).log_softmax(-1)
    for rows in (far, near):
        found = (1 - similarity_of("jsd", rows)).double().square()
        torch.testing.assert_close(found, divergence(rows), atol=5e-7, rtol=0)


def test_tiles_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = log_probs(7, 4, 1000, dtype=torch.float64)
    whole = similarity_of("jsd", rows)
    monkeypatch.setattr(jsd_module, "CACHED", 64)  # 16 tokens at a time, one question at a time
    torch.testing.assert_close(similarity_of("jsd", rows), whole, atol=1e-12, rtol=0)
    monkeypatch.setattr(jsd_module, "CACHED", 10_000)  # all tokens, two questions at a time
    torch.testing.assert_close(similarity_of("jsd", rows), whole, atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", PARAMETER_FREE)
def test_any_number_of_leading_dimensions(name: str) -> None:
    rows = log_probs(2, 3, 4, 11)
    s = similarity_of(name, rows)
    assert s.shape == (2, 3, 4, 4)
    torch.testing.assert_close(s[1, 2], similarity_of(name, rows[1, 2]))


def test_filtered_distributions_are_understood() -> None:
    """A nucleus cut: tokens at −∞ count as probability 0."""
    rows = log_probs(1, 3, 20)
    cut = rows.masked_fill(rows < rows.median(-1, keepdim=True).values, float("-inf")).log_softmax(-1)
    found = (1 - similarity_of("jsd", cut)).double().square()
    tiny = cut.double().exp().clamp(min=1e-300).log()
    torch.testing.assert_close(found, divergence(tiny), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("knobs", "parameters"),
    [
        ({"name": "luong", "n_embd": 1536}, 393_216),
        ({"name": "luong", "vocab_size": LARGE, "space": "vocabulary"}, 38_895_616),
        ({"name": "bahdanau", "n_embd": 1536}, 2 * 1536 * 256 + 256),
    ],
)
def test_learnable_similarities_are_small_on_embeddings(knobs: dict[str, Any], parameters: int) -> None:
    similarity = gw.make_similarity(**knobs, device="meta")
    assert sum(p.numel() for p in similarity.parameters()) == similarity.cost(8).parameters == parameters


def test_learnable_similarities_learn_from_their_start() -> None:
    """Zero at one end is no dead end: a few steps are enough to prefer the peer that one is told to."""
    similarity = gw.make_similarity("luong", n_embd=6, rank=3)
    rows, table = log_probs(1, 3, 12), torch.randn(12, 6, generator=torch.Generator().manual_seed(3))
    live = torch.ones(1, 3, dtype=torch.bool)
    optimizer = torch.optim.Adam(similarity.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        a = similarity.attention(similarity.similarity(rows, table=table), live)
        (-a[0, 0, 2].log()).backward()
        optimizer.step()
    assert a[0, 0, 2] > 0.9


def test_the_signal_of_a_learnable_similarity_is_enough_to_compute_it_again() -> None:
    similarity = gw.make_similarity("luong", n_embd=6)
    torch.nn.init.normal_(similarity.key.weight, generator=torch.Generator().manual_seed(4))
    rows, table = log_probs(2, 3, 12), torch.randn(12, 6, generator=torch.Generator().manual_seed(3))
    signal = similarity.signal(rows, table)
    assert signal.shape == (2, 3, 6)
    with torch.autocast("cpu", torch.bfloat16):
        again = similarity.compare(signal)
    assert torch.equal(again, similarity.similarity(rows, table=table))


def test_made_by_name_or_alias_or_mapping() -> None:
    assert {"jsd", "luong", "none", "peer_mean"} <= set(list_parts("similarity"))
    assert find("similarity", "kl_divergence") is find("similarity", "jsd")
    assert find("similarity", "baseline") is find("similarity", "cosine")  # M3PO's own
    made = gw.make_similarity({"name": "luong", "rank": 5}, n_embd=7, temperature=0.3)
    assert made.query.weight.shape == (5, 7)
    assert made.temperature.item() == pytest.approx(0.3)
    assert gw.make_similarity("jsd").temperature.item() == pytest.approx(0.1)
    assert gw.make_similarity("peer_mean", temperature=5.0).tempered is False


def test_weights_come_from_the_seed_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = gw.make_similarity("bahdanau", n_embd=6, seed=3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    again, other = (gw.make_similarity("bahdanau", n_embd=6, seed=seed) for seed in (3, 4))
    assert torch.equal(first.query.weight, again.query.weight)
    assert not torch.equal(first.query.weight, other.query.weight)


def test_a_calibrated_temperature_is_saved_with_the_rest() -> None:
    similarity = gw.make_similarity("jsd", temperature=0.1)
    similarity.temperature.fill_(0.037)
    loaded = gw.make_similarity("jsd")
    loaded.load_state_dict(safetensors.torch.load(safetensors.torch.save(similarity.state_dict())))
    assert loaded.temperature.item() == pytest.approx(0.037)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"name": "cosin"}, "unknown similarity 'cosin'; did you mean 'cosine'?"),
        ({"name": "jsd", "temperature": 0.0}, "similarity.temperature=0.0: must be positive"),
        ({"name": "jsd", "temperature": "0.1"}, "similarity.temperature='0.1': expected float, got str"),
        ({"name": "jsd", "temperature": float("nan")}, "similarity.temperature=nan: must be a finite number"),
        ({"name": {"name": "jsd", "temperature": -1.0}}, "temperature=-1.0: must be a positive number"),
        ({"name": "jsd", "rank": 3}, "unknown key 'similarity 'jsd'.rank'"),
        ({"name": "luong", "n_embd": 8, "rnk": 3}, "did you mean 'similarity 'luong'.rank'?"),
        ({"name": "cosine", "space": "embedding"}, "did you mean 'embeddings'?"),
        ({"name": "luong"}, "a learnable similarity on space=embeddings needs n_embd="),
        ({"name": "luong", "n_embd": 8, "space": "vocabulary"}, "on space=vocabulary needs vocab_size="),
        ({"name": "bahdanau", "n_embd": 8, "hidden": 0}, "similarity 'bahdanau'.hidden=0: must be at least 1"),
        ({"name": "luong", "n_embd": 0}, "similarity.n_embd=0: must be positive"),
        ({"name": {"name": "peer_mean", "temperature": 1.0}}, "unknown key 'similarity 'peer_mean'.temperature'"),
    ],
)
def test_mistakes(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        gw.make_similarity(**arguments)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="needs table="):
        gw.make_similarity("cosine", space="embeddings").similarity(log_probs(1, 2, 5))
    with pytest.raises(UserError, match="'random_peer' needs keys="):
        gw.make_similarity("random_peer").similarity(log_probs(1, 2, 5))
