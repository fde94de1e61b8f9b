"""One run on one, two and four processes: the same batches, the same losses, the same checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

import gatewright
from gatewright.config import Config, to_yaml
from gatewright.errors import UserError
from gatewright.run import Run
from gatewright.training.parallel import parallelised
from gatewright.training.start import train

MODEL = {"feedforward": "paglu", "alpha": "learnable", "activation": "sigmoid", "bias": False}


def launch(config: Config, folder: Path, processes: int, mode: str) -> subprocess.CompletedProcess[str]:
    """``gatewright train`` under torchrun."""
    file = folder / f"{Path(config.out).name}-{mode}-{processes}.yaml"
    file.write_text(to_yaml(config))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command += ["-m", "gatewright", "train", "--config", str(file), f"parallel.mode={mode}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


def losses(run: Run) -> list[float]:
    return [record["loss"] for record in run.train_records()]


def same(run: Run, other: Run) -> None:
    """Losses, evaluations, gradients and α of two runs agree to what adding up in another order leaves."""
    assert losses(run) == pytest.approx(losses(other), rel=2e-6)
    for key in ("val_loss", "val_token_accuracy"):
        ours, theirs = ([record[key] for record in each.eval_records()] for each in (run, other))
        assert ours == pytest.approx(theirs, rel=2e-6), key
    for key in ("grad_norm", "grad_std"):
        ours, theirs = ([record[key] for record in each.train_records()] for each in (run, other))
        assert ours == pytest.approx(theirs, rel=1e-4), key
    assert run.summary["alpha"] == pytest.approx(other.summary["alpha"], rel=1e-6)
    assert run.summary["tokens"] == other.summary["tokens"]
    assert run.evaluated_sequences() == pytest.approx(other.evaluated_sequences(), rel=1e-5)


@pytest.fixture
def alone(tiny: Callable[..., Config], console: Console) -> Run:
    return gatewright.train(tiny("alone", model=MODEL, grad_accumulation=2), console=console)


@pytest.mark.parametrize("mode", ["ddp", "fsdp2"])
def test_two_processes_do_what_one_does(
    mode: str, alone: Run, tiny: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    config = tiny("two", model=MODEL, grad_accumulation=2)
    ended = launch(config, tmp_path, 2, mode)
    assert ended.returncode == 0, ended.stderr[-2000:]
    two = Run(config.out)
    same(two, alone)
    assert two.environment["processes"] == 2
    for name in ("model.safetensors", "optimizer.safetensors"):
        ours, theirs = (load_file(run.checkpoint("last") / name) for run in (two, alone))
        assert ours.keys() == theirs.keys()
        for key in ours:
            # Adam divides by the size of the gradient: where that is nothing, noise decides
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-3, atol=2e-5, msg=key)


def test_a_checkpoint_of_two_with_shared_state_goes_on_as_one_and_as_four_shards(
    alone: Run, tiny: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    half = tiny("half", model=MODEL, grad_accumulation=2, max_steps=12, save_every=4)
    half.train.keep_last = 3
    assert launch(half, tmp_path, 2, "zero1").returncode == 0
    whole = Run(half.out)
    for path in (whole.path / "checkpoints").glob("step-*"):
        if path.name != "step-4":
            for file in path.iterdir():
                file.unlink()
            path.rmdir()
    (whole.path / "summary.json").unlink()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in whole.path.rglob("*"):
        if file.is_file():
            target = copy / file.relative_to(whole.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    half.resume = "auto"
    same(gatewright.train(half, console=console), alone)
    half.out = str(copy)
    ended = launch(half, tmp_path, 4, "fsdp2")
    assert ended.returncode == 0, ended.stderr[-2000:]
    same(Run(copy), alone)
    assert [entry["step"] for entry in Run(copy).environment["resumed"]] == [4]


def test_what_cannot_be_spread_is_said_once_and_before_work(tiny: Callable[..., Config], tmp_path: Path) -> None:
    config = tiny("three", batch_size=4)
    ended = launch(config, tmp_path, 3, "ddp")
    assert ended.returncode != 0
    said = [line for line in ended.stderr.splitlines() if line.startswith("gatewright: ")]
    assert said == [
        "gatewright: a step's 4 sequences (train.batch_size x train.grad_accumulation) cannot be shared equally by "
        "3 processes"
    ]
    assert not Path(config.out).exists()


def test_modes_need_torchrun_and_torchrun_needs_a_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match="mode=ddp needs several processes: torchrun"), parallelised("ddp", "cpu"):
        pass
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="2 processes were started, but"), parallelised("none", "cpu"):
        pass
    with pytest.raises(UserError, match="did you mean 'fsdp2'"), parallelised("fsdp", "cpu"):
        pass


@pytest.mark.parametrize("what", ["feedforward", "blocks"])
def test_recomputing_changes_memory_and_nothing_else(what: str, tiny: Callable[..., Config], console: Console) -> None:
    plain, again = (
        train(tiny(name, model={**MODEL, "dropout": 0.1}, recompute=name), console=console) for name in ("none", what)
    )
    assert losses(again) == losses(plain)
    ours, theirs = (load_file(run.checkpoint("last") / "model.safetensors") for run in (again, plain))
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert json.loads((again.path / "summary.json").read_text())["status"] == "finished"
