"""One run on one, two and four processes: the same batches, the same losses, the same checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import gatewright
from gatewright.config import Config, to_yaml
from gatewright.errors import UserError
from gatewright.hardware.compiler import cpp_compiler
from gatewright.hf import from_hf
from gatewright.run import Run
from gatewright.training.parallel import parallelised
from gatewright.training.shelf import export
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


def tensors(checkpoint: Path, whole: str) -> dict[str, torch.Tensor]:
    """What a checkpoint has under a name, in one file or put together from the slices of several."""
    if (checkpoint / whole).exists():
        return load_file(checkpoint / whole)
    slices: dict[str, list[torch.Tensor]] = {}
    for file in sorted(checkpoint.glob(f"{Path(whole).stem}-*-of-*.safetensors")):
        for name, tensor in load_file(file).items():
            slices.setdefault(name, []).append(tensor)
    return {name: torch.cat(parts) if len(parts) > 1 else parts[0] for name, parts in slices.items()}


def same_checkpoint(ours: Path, theirs: Path) -> None:
    """Weights and optimizer agree."""
    for whole in ("model.safetensors", "optimizer.safetensors"):
        left, right = tensors(ours, whole), tensors(theirs, whole)
        assert left.keys() == right.keys()
        for key in left:
            # Adam divides by the size of the gradient: where that is nothing, noise decides
            torch.testing.assert_close(left[key], right[key], rtol=1e-3, atol=2e-5, msg=key)


def back_to(step: int, run: Run, copy: Path) -> Run:
    """A copy of a run as it was after ``step``."""
    shutil.copytree(run.path, copy, ignore=shutil.ignore_patterns("summary.json"))
    for path in Run(copy).checkpoints():
        if path.name != f"step-{step}":
            shutil.rmtree(path)
    return Run(copy)


def test_two_processes_do_what_one_does(
    alone: Run, tiny: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    config = tiny("two", model=MODEL, grad_accumulation=2)
    ended = launch(config, tmp_path, 2, "ddp")
    assert ended.returncode == 0, ended.stderr[-2000:]
    two = Run(config.out)
    same(two, alone)
    assert two.environment["processes"] == 2
    same_checkpoint(two.checkpoint("last"), alone.checkpoint("last"))


@pytest.mark.skipif(cpp_compiler() is None, reason="there is no C++ compiler")
def test_compiled_layers_of_two_processes_learn_what_plain_ones_of_one_do(
    alone: Run, tiny: Callable[..., Config], tmp_path: Path
) -> None:
    config = tiny("compiled", model=MODEL, grad_accumulation=2, compile="blocks")
    ended = launch(config, tmp_path, 2, "fsdp2")
    assert ended.returncode == 0, ended.stderr[-2000:]
    run = Run(config.out)
    assert run.config.train.compile == "blocks"
    assert losses(run) == pytest.approx(losses(alone), rel=1e-4)
    assert run.eval_records()[-1]["val_loss"] == pytest.approx(alone.eval_records()[-1]["val_loss"], rel=1e-4)


def test_shares_are_written_by_two_and_read_by_one_two_and_four(
    alone: Run, tiny: Callable[..., Config], console: Console, tmp_path: Path
) -> None:
    config = tiny("shared", model=MODEL, grad_accumulation=2, keep_last=3)
    ended = launch(config, tmp_path, 2, "fsdp2")
    assert ended.returncode == 0, ended.stderr[-2000:]
    shared = Run(config.out)
    same(shared, alone)
    last = shared.checkpoint("last")
    same_checkpoint(last, alone.checkpoint("last"))
    opens_whole(last, shared, tmp_path)
    config.resume = "auto"

    config.out = str(back_to(4, shared, tmp_path / "one").path)
    same(gatewright.train(config, console=console), alone)

    config.out = str(back_to(4, shared, tmp_path / "zero").path)
    ended = launch(config, tmp_path, 2, "zero1")
    assert ended.returncode == 0, ended.stderr[-2000:]
    zero = Run(config.out)
    same(zero, alone)
    same_checkpoint(zero.checkpoint("last"), alone.checkpoint("last"))

    config.out = str(back_to(8, zero, tmp_path / "four").path)
    ended = launch(config, tmp_path, 4, "fsdp2")
    assert ended.returncode == 0, ended.stderr[-2000:]
    four = Run(config.out)
    same(four, alone)
    assert [entry["step"] for entry in four.environment["resumed"]] == [4, 8]


def opens_whole(checkpoint: Path, run: Run, folder: Path) -> None:
    """Nothing was gathered: two files share the weights evenly, two the optimizer; whatever opens models opens it."""
    files = {path.name: path.stat().st_size for path in checkpoint.glob("*.safetensors")}
    parts = [f"{stem}-0000{n}-of-00002.safetensors" for stem in ("model", "optimizer") for n in (1, 2)]
    assert sorted(files) == parts
    assert max(files[name] for name in parts[:2]) < 0.7 * sum(files[name] for name in parts[:2])
    assert max(files[name] for name in parts[2:]) < 0.6 * sum(files[name] for name in parts[2:])
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    assert {*manifest["files"], "manifest.json"} == {path.name for path in checkpoint.iterdir()}
    model, ids = run.load(checkpoint), torch.arange(16)[None]
    logits = model(ids).logits
    assert torch.equal(AutoModelForCausalLM.from_pretrained(checkpoint)(ids).logits, logits)
    assert torch.equal(from_hf(checkpoint).eval()(ids).logits, logits)
    assert export(run.path, folder / "whole", "last") == checkpoint
    assert torch.equal(AutoModelForCausalLM.from_pretrained(folder / "whole")(ids).logits, logits)
    assert not list((folder / "whole").glob("model-*"))


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
