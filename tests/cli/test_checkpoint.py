"""`gatewright checkpoint list|verify|export` on a real run, as a user calls them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from chapters import write_chapters
from transformers import AutoModelForCausalLM, AutoTokenizer

from gatewright.cli import main
from gatewright.run import Run

OVERRIDES = ["model=small", "model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files",
             "data.tokenizer=byte", "train.batch_size=4", "train.max_steps=6", "train.eval_every=2",
             "train.save_every=2", "train.eval_tokens=512", "train.tensorboard=false"]  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints of steps 4 and 6."""
    folder = tmp_path_factory.mktemp("checkpoints")
    write_chapters(folder)
    arguments = ["train", *OVERRIDES, f"data.path={folder / 'corpus'}", f"out={folder / 'run'}"]
    environment = {**os.environ, "GATEWRIGHT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "gatewright", *arguments], env=environment, check=True, capture_output=True)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoiled."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["gatewright", "checkpoint", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def spoil(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def test_list_says_what_there_is(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = run / "checkpoints/step-4/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert call(monkeypatch, "list", run, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    scores = {record["step"]: record["val_loss"] for record in Run(run).eval_records()}
    assert [(entry["step"], entry["score"], entry["best"]) for entry in listed] == [
        (step, scores[step], scores[step] == min(scores.values())) for step in (4, 6)
    ]
    assert "model.safetensors is damaged" in listed[0]["fault"]
    assert listed[1]["fault"] is None
    assert listed[1]["bytes"] == sum(file.stat().st_size for file in (run / "checkpoints/step-6").iterdir())
    assert all(0 <= entry["age_seconds"] < 3600 for entry in listed)
    assert call(monkeypatch, "list", run) == 0
    shown = capsys.readouterr().out
    assert "best" in shown
    assert "yes" in shown


def test_listing_and_verifying_need_no_torch(run: Path) -> None:
    code = "import sys; from gatewright.cli import app\nfor verb in ('list', 'verify'):\n"
    code += f"    app(['checkpoint', verb, {str(run)!r}], standalone_mode=False)\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_verify_reads_every_byte_and_names_each_damaged_file(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "verify", run) == 0
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().out.splitlines()] == ["sound", "sound"]
    for name in ("model.safetensors", "trainer.json"):
        spoil(run / "checkpoints/step-4" / name)
    assert call(monkeypatch, "verify", run) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1].split(" ")[0] for line in lines] == ["model.safetensors", "trainer.json", "sound"]
    assert call(monkeypatch, "verify", run / "checkpoints/step-6") == 0
    assert call(monkeypatch, "verify", run / "checkpoints/step-4") == 1


def test_an_export_is_opened_by_transformers(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert call(monkeypatch, "export", run / "checkpoints/step-4", out) == 0
    ids = torch.tensor([AutoTokenizer.from_pretrained(out)("The gate")["input_ids"]])
    ours = Run(run).load(run / "checkpoints/step-4")
    assert torch.equal(AutoModelForCausalLM.from_pretrained(out)(ids).logits, ours(ids).logits)
    assert call(monkeypatch, "export", run, out) == 2  # it is there already
    assert "exists; choose another folder" in capsys.readouterr().err
    spoil(run / "checkpoints/step-6/model.safetensors")
    assert call(monkeypatch, "export", run / "checkpoints/step-6", tmp_path / "damaged") == 1
    assert "model.safetensors is damaged" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("verify", "checkpoints/step-44"), "there is no such run or checkpoint; did you mean 'step-4'?"),
        (("list", "../rum"), "there is no such run or checkpoint; did you mean 'run'?"),
        (("verify", "tokenizer"), "is not a run directory: it has no config.yaml"),
        (("export", "checkpoints/step-4", "out", "--checkpoint", "last"), "is one; leave it out"),
    ],
)
def test_mistakes_name_the_nearest_right_name(
    run: Path,
    arguments: tuple[str, ...],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(run)
    assert call(monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err
