"""Small synthetic corpora and a cache of their own for the tests of `gatewright.data`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants
from sample_text import make_document

from gatewright.config import DataConfig


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, and no look at the hub."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def documents() -> list[str]:
    """Twenty different documents."""
    return [make_document(seed) for seed in range(20)]


@pytest.fixture
def jsonl(tmp_path: Path, documents: list[str]) -> Path:
    """The twenty documents as JSON lines."""
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    return path


@pytest.fixture
def files_config() -> Callable[..., DataConfig]:
    """``files_config(path, **others)``: a byte-tokenized corpus of local files, unless told otherwise."""

    def make(path: Path, **others: Any) -> DataConfig:
        return DataConfig(**{"source": "files", "path": str(path), "tokenizer": "byte", **others})

    return make
