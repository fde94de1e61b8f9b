"""The fast ways of a step learn what the plain way learns, over two hundred steps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import gatewright
from gatewright.config import Config
from gatewright.model import language_model, linear_cross_entropy

STEPS = 200


@pytest.fixture
def losses(tiny: Callable[..., Config], console: Console) -> Callable[..., np.ndarray[Any, Any]]:
    def learn(out: str, **train: Any) -> np.ndarray[Any, Any]:
        run = gatewright.train(tiny(out=out, max_steps=STEPS, eval_every=STEPS, save_every=STEPS, **train),
                               console=console)  # fmt: skip
        lines = (Path(run.path) / "metrics.jsonl").read_text().splitlines()
        found = np.array([r["loss"] for r in map(json.loads, lines) if r["kind"] == "train"])
        assert len(found) == STEPS
        assert found[-20:].mean() < 0.6 * found[0]  # something is learned
        return found

    return learn


def test_every_fast_way_follows_the_plain_one(
    losses: Callable[..., np.ndarray[Any, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = losses("plain", compile=False)
    compiled = losses("compiled", compile=True)
    blocks = losses("blocks", compile="blocks")
    low = losses("low", precision="bf16", compile=False)
    monkeypatch.setattr(language_model, "LARGE", 0)
    monkeypatch.setattr(linear_cross_entropy, "SLICE", 257 * 50)  # three slices of a batch of 128 tokens
    sliced = losses("sliced", compile=False)

    assert abs(compiled - plain).max() < 2e-3
    assert abs(blocks - plain).max() < 2e-3
    assert abs(sliced - plain).max() < 2e-3
    assert abs(low - plain).max() < 0.1
    assert abs(low[-50:].mean() - plain[-50:].mean()) < 0.01
