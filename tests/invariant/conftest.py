"""Tiny real runs: two layers of width 32 on a few kilobytes of generated text."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from gatewright.config import Config, DataConfig, ModelConfig, TrainConfig

WORDS = [
    "the",
    "gate",
    "opens",
    "a",
    "little",
    "when",
    "signal",
    "asks",
    "and",
    "closes",
    "again",
    "if",
    "nobody",
    "listens",
]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty documents of random sentences."""
    folder = tmp_path_factory.mktemp("text")
    words = random.Random(0)
    for number in range(40):
        (folder / f"{number:02}.txt").write_text(" ".join(words.choices(WORDS, k=60)))
    return folder


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def cache_variable(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(cache_folder))


@pytest.fixture
def tiny(text_folder: Path, tmp_path: Path) -> Callable[..., Config]:
    """A function that makes a configuration; ``model`` and ``train`` knobs by name, the rest as keywords."""

    def make(out: str = "run", resume: str = "never", model: dict[str, Any] | None = None, **train: Any) -> Config:
        sizes = {"n_layer": 2, "n_head": 2, "n_embd": 32, "block_size": 32, "init": "fan_in"}
        options = {"batch_size": 4, "max_steps": 12, "log_every": 1, "eval_every": 4, "eval_tokens": 400}
        options |= {"save_every": 4, "tensorboard": False, "learning_rate": 3e-3, "precision": "float32"}
        return Config(
            model=ModelConfig(**{**sizes, **(model or {})}),
            data=DataConfig(source="files", path=str(text_folder), tokenizer="byte", validation_fraction=0.1),
            train=TrainConfig(**{**options, **train}),
            out=str(tmp_path / out),
            resume=resume,  # type: ignore[arg-type]
            device="cpu",
        )

    return make


@pytest.fixture
def console() -> Console:
    """Collects what a run prints: ``console.file.getvalue()``."""
    return Console(file=io.StringIO(), width=200)
