"""What training takes is counted once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatewright.config import ModelConfig
from gatewright.model import footprint
from gatewright.model.cost import training_memory
from gatewright.model.footprint import remembered_memory

MODEL = ModelConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=32)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path))
    return tmp_path


def test_it_is_what_is_counted_and_the_second_time_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    first = remembered_memory(MODEL, 2, "bf16")
    assert first == training_memory(MODEL, 2, precision="bf16")
    assert remembered_memory(MODEL, 3, "bf16")["activations"] > first["activations"]
    monkeypatch.setattr(footprint, "training_memory", None)  # cannot be called
    assert remembered_memory(MODEL, 2, "bf16") == first


@pytest.mark.parametrize("change", ["package_state", "version"])
def test_other_code_is_counted_anew(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered_memory(MODEL, 2, "float32")
    monkeypatch.setattr(footprint, change, lambda *_: "another")
    monkeypatch.setattr(footprint, "training_memory", lambda *_, **__: {"weights": 1})
    assert remembered_memory(MODEL, 2, "float32") == {"weights": 1}


def test_a_damaged_cache_is_no_obstacle(cache: Path) -> None:
    (cache / "memory.json").write_text('{"torn')
    assert remembered_memory(MODEL, 2, "float32") == training_memory(MODEL, 2)
    assert json.loads((cache / "memory.json").read_text())
