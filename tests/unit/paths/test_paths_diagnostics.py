"""Statistics of listening."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

import gatewright as gw
from gatewright.paths import Diagnostics, attend
from gatewright.registry import list_parts

STEPS, B, N, V = 3, 4, 5, 30


def made_up(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """S, A, live and tokens of one step."""
    generator = torch.Generator().manual_seed(seed)
    s = torch.rand(B, N, N, generator=generator)
    live = torch.rand(B, N, generator=generator) < 0.7
    live[0] = torch.tensor([False, True, False, False, False])  # one path left, that has nobody to hear
    tokens = torch.randint(3, (B, N), generator=generator)
    return s, attend(s, live, 0.2), live, tokens


def by_hand(steps: list[tuple[torch.Tensor, ...]]) -> dict[str, float]:
    """The same from the definitions, row by row."""
    rows: dict[str, list[float]] = {}
    for s, a, live, tokens in steps:
        for b in range(B):
            for i in range(N):
                others = [j for j in range(N) if live[b, j] and j != i]
                if live[b, i]:
                    rows.setdefault("listening_share", []).append(float(bool(others)))
                if not (live[b, i] and others):
                    continue
                weights, scores = a[b, i, others].double().numpy(), s[b, i, others].double().numpy()
                differ = (tokens[b, others] != tokens[b, i]).numpy()
                values = {
                    "attention_entropy": stats.entropy(weights),
                    "effective_peers": math.exp(stats.entropy(weights)),
                    "attention_max": weights.max(),
                    "attention_variance": weights.var(),
                    "similarity_range": np.ptp(scores),
                    "differing_mass": weights[differ].sum(),
                    "fork_share": float(differ.any()),
                }
                for name, value in values.items():
                    rows.setdefault(name, []).append(float(value))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def test_means_over_all_places_where_somebody_was_heard() -> None:
    """Over steps of different numbers of listeners: not a mean of means."""
    steps = [made_up(seed) for seed in range(STEPS)]
    diagnostics = Diagnostics()
    for step in steps:
        diagnostics.add(*step)
    assert diagnostics.result() == pytest.approx(by_hand(steps), rel=1e-5)
    at_once = Diagnostics()
    at_once.add(*(torch.stack(tensors, 1) for tensors in zip(*steps, strict=True)))  # (B, T, N, …)
    assert at_once.result() == pytest.approx(diagnostics.result(), rel=1e-12)


def test_garbage_of_paths_that_are_gone_is_not_counted() -> None:
    s, a, live, tokens = made_up(0)
    gone = ~(live[:, :, None] & live[:, None, :])
    clean, dirty = Diagnostics(), Diagnostics()
    clean.add(s, a, live, tokens)
    dirty.add(s.masked_fill(gone, float("nan")), a, live, tokens.masked_fill(~live, 99))
    assert dirty.result() == clean.result()


def test_divergence_of_the_blend() -> None:
    generator = torch.Generator().manual_seed(0)
    blended, plain = (torch.randn(B, N, V, generator=generator).log_softmax(-1) for _ in range(2))
    hears = torch.rand(B, N, generator=generator) < 0.5
    blended[0, 0, :10] = float("-inf")  # a token that has become impossible adds nothing
    hears[0, 0] = True
    diagnostics = Diagnostics()
    diagnostics.add_divergence(blended, plain, hears)
    p, q = blended.double().exp().numpy(), plain.double().exp().numpy()
    expected = np.mean([np.sum(np.where(p[k] > 0, p[k] * np.log(np.where(p[k] > 0, p[k], 1) / q[k]), 0))
                        for k in zip(*np.nonzero(hears.numpy()), strict=True)])  # fmt: skip
    assert diagnostics.result() == {"blend_divergence": pytest.approx(expected, rel=1e-5)}
    same = Diagnostics()
    same.add_divergence(plain, plain, hears)
    assert same.result() == {"blend_divergence": 0.0}


@pytest.mark.parametrize("name", list_parts("similarity"))
def test_every_similarity_can_be_watched(name: str) -> None:
    similarity = gw.make_similarity(name, n_embd=4)
    rows = torch.randn(B, N, V, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    live = torch.ones(B, N, dtype=torch.bool)
    s = similarity.similarity(rows, table=torch.randn(V, 4), keys=torch.arange(B * N).reshape(B, N))
    diagnostics = Diagnostics()
    diagnostics.add(s.detach(), similarity.attention(s, live).detach(), live, rows.argmax(-1))
    found = diagnostics.result()
    assert all(math.isfinite(value) for value in found.values())
    if name == "none":
        assert found == {"listening_share": 0.0}
    else:
        assert found["listening_share"] == 1.0
        assert 1 <= found["effective_peers"] <= N - 1 + 1e-5
        assert found["effective_peers"] >= math.exp(found["attention_entropy"]) - 1e-5  # Jensen
        one_peer, all_peers = name == "random_peer", name in ("peer_mean", "luong", "bahdanau")
        assert (found["effective_peers"] == pytest.approx(1)) == one_peer
        assert (found["effective_peers"] == pytest.approx(N - 1)) == all_peers


def test_effective_peers_alone_mislead() -> None:
    """The point of `differing_mass`: attention shared out evenly, and none of it on anything but one's own token."""
    live, tokens = torch.ones(1, 4, dtype=torch.bool), torch.tensor([[7, 7, 7, 7]])
    a = attend(torch.zeros(1, 4, 4), live, 1.0)
    diagnostics = Diagnostics()
    diagnostics.add(torch.zeros(1, 4, 4), a, live, tokens)
    found = diagnostics.result()
    assert found["effective_peers"] == pytest.approx(3)
    assert found["differing_mass"] == found["fork_share"] == 0.0


def test_nothing_yet() -> None:
    assert Diagnostics().result() == {}
