"""``gatewright prepare``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text(f"Chapter {number}. The gate is shut. " * 9)
    return ["data=files", f"data.path={tmp_path}", "data.tokenizer=byte"]


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gatewright", "prepare", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_it_says_what_there_is_and_verify_mends_it(text: list[str]) -> None:
    done = call(*text, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    tokens = Path(found["folder"]) / "train-00000.bin"
    assert found["train"]["tokens"] == tokens.stat().st_size // 2
    before = tokens.read_bytes()
    tokens.write_bytes(before[:-2] + b"ab")
    mended = call(*text, "--verify")
    assert mended.returncode == 0, mended.stderr
    assert "train-00000 damaged, made again" in mended.stderr
    assert tokens.read_bytes() == before


def test_a_task_is_no_text(text: list[str]) -> None:
    done = call(*text, "task=chain_sum")
    assert done.returncode == 2
    assert done.stderr == "gatewright: task=: questions are made when they are needed; only a text is prepared\n"
