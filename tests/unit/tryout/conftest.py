"""Files of parts, and a registry that forgets them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
from gate_files import gate_file

from gatewright import plugins, registry
from gatewright.contract import line as contract_line


@pytest.fixture(autouse=True)
def scratch_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it, and so is which files were loaded."""
    registry.entries("norm")  # everything of the package is there before the copy is made
    monkeypatch.setattr(registry, "_entries", copy.deepcopy(registry._entries))
    monkeypatch.setattr(registry, "_aliases", copy.deepcopy(registry._aliases))
    monkeypatch.setattr(plugins, "_loaded", {})
    monkeypatch.setenv(plugins.NAMED, "")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate(here: Path) -> Callable[..., Path]:
    """A maker of files with one gate each; see `gate_file`."""

    def make(file: str = "mine.py", **changes: str) -> Path:
        path = here / file
        path.write_text(gate_file(**changes))
        return path

    return make


@pytest.fixture
def without_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract without the one line that takes seconds."""
    monkeypatch.setattr(contract_line, "_lines", [each for each in contract_line._lines if each.name != "onnx"])


@pytest.fixture
def corpus(here: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides that make a run of seconds on a small text, with a cache of its own."""
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(here / "cache"))
    (here / "corpus").mkdir()
    for number in range(8):
        text = f"Chapter {number}. " + "The gate is open, the gate is shut. " * 40
        (here / "corpus" / f"{number}.txt").write_text(text)
    return TINY


TINY = ["model=small", "model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files",
        "data.path=corpus", "data.tokenizer=byte", "train.batch_size=4", "train.max_steps=4", "train.eval_tokens=512",
        "train.tensorboard=false"]  # fmt: skip
