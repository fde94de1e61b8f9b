"""The first ten minutes of a new part, from the file it starts as to the report of its study."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chapters import write_chapters

from gatewright.cli import main
from gatewright.contract import MODEL, lines

TINY = ["model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files", "data.path=corpus",
        "data.tokenizer=byte", "train.batch_size=4", "train.max_steps=4", "train.eval_tokens=512"]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder but for a corpus, which is the current one."""
    monkeypatch.chdir(tmp_path)
    write_chapters(tmp_path)
    return tmp_path


def gatewright(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GATEWRIGHT_CACHE": "cache", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    command = [sys.executable, "-m", "gatewright", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_new_gate_can_be_tried_as_it_was_written(here: Path) -> None:
    written = gatewright("new", "gate", "soft")
    assert (written.returncode, written.stderr) == (0, "")
    assert "gatewright try soft.py" in written.stdout
    tried = gatewright("try", "soft.py", "--seeds", "1", *TINY)
    assert tried.returncode == 0, tried.stdout + tried.stderr
    assert "✗" not in tried.stdout
    for heading in (
        "The contract of gate 'soft'",
        "One block of model=small",
        "One block of model=gpt2",
        "Study try-soft",
    ):
        assert heading in tried.stdout
    assert tried.stdout.count("✓") == len(lines("gate")) + len(lines(MODEL))
    folder = here / "runs" / "try-soft"
    assert f"report: {folder / 'report.html'}" in tried.stdout
    comparisons = json.loads((folder / "results.json").read_text())["comparisons"]
    assert [comparison["arm"] for comparison in comparisons] == ["swiglu", "soft"]
    assert (folder / "runs/soft/seed-0/plugins/soft.py").read_text() == (here / "soft.py").read_text()
    assert "Soft" in json.loads((folder / "runs/soft/seed-0/summary.json").read_text())["architecture"]
    assert not (folder / "runs/gelu/seed-0/plugins").exists()


@pytest.mark.parametrize(("went_well", "code"), [(True, 0), (False, 1)])
def test_the_exit_status_says_whether_all_went_well(
    went_well: bool, code: int, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def try_part(file: Path, overrides: list[str], **options: object) -> bool:
        asked.update(options, file=file, overrides=overrides)
        return went_well

    monkeypatch.setattr("gatewright.tryout.try_part", try_part)
    line = "gatewright try a.py data=sotu train.max_steps=3 --seeds 5 --workers 1 --out there"
    monkeypatch.setattr("sys.argv", line.split())
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == code
    del asked["console"]
    assert asked == {
        "file": Path("a.py"), "overrides": ["data=sotu", "train.max_steps=3"], "study": True, "seeds": 5, "workers": 1,
        "out": Path("there"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "gate", "swiglu"], "the name 'swiglu' is taken"),
        (["new", "gaet", "soft"], "did you mean 'gate'"),
        (["try", "sotf.py"], "sotf.py; did you mean 'soft.py'?"),
        (["try", "wrong.py"], "wrong.py, line 2: SyntaxError"),
        (["try", "soft.py", "--no-study", "--seeds", "3"], "--no-study trains nothing"),
        (["try", "soft.py", "--no-study", "train.max_steps=3"], "--no-study trains nothing"),
    ],
)
def test_mistakes_take_one_line(
    arguments: list[str], said: str, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "soft.py").write_text("x = 1\n")
    (here / "wrong.py").write_text("x = 1\nif x\n")
    monkeypatch.setattr("sys.argv", ["gatewright", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert said in error
    assert {path.name for path in here.iterdir()} <= {"corpus", "soft.py", "wrong.py", "__pycache__"}
