"""``gatewright prepare``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gatewright.cli import main


@pytest.fixture
def text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    for folder in ("loud", "quiet"):
        Path(folder).mkdir()
        for number in range(10):
            Path(folder, f"{number}.txt").write_text(f"Chapter {number}, {folder}. The gate is shut. " * 9)
    return ["data=files", "data.path=loud", "data.tokenizer=byte"]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["gatewright", "prepare", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def test_it_says_what_there_is_and_verify_mends_it(
    text: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *text, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    tokens = Path(found["folder"]) / "train-00000.bin"
    before = tokens.read_bytes()
    assert 2 * found["train"]["tokens"] == len(before)
    tokens.write_bytes(before[:-2] + b"ab")
    with pytest.warns(RuntimeWarning, match="train-00000 damaged, made again"):
        assert call(monkeypatch, *text, "--verify") == 0
    assert tokens.read_bytes() == before
    assert "train.tokens" in capsys.readouterr().out


def test_a_mixture_has_a_folder_for_each_source(
    text: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mixture = "data.sources={loud: {path: loud, weight: 3}, quiet: {path: quiet}}"
    assert call(monkeypatch, *text, mixture, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert Path(found["folder loud"]).is_dir()
    assert found["folder loud"] != found["folder quiet"]
    assert {name: of["share"] for name, of in found["sources"].items()} == {"loud": 0.75, "quiet": 0.25}


def test_a_task_is_no_text(
    text: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *text, "task=chain_sum") == 2
    said = capsys.readouterr().err
    assert said == "gatewright: task=: questions are made when they are needed; only a text is prepared\n"
