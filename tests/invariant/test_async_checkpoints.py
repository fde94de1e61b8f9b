"""Checkpoints are written while training goes on, and are those that would have been written meanwhile."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import gatewright
from gatewright.config import Config
from gatewright.errors import RunError
from gatewright.run import Run
from gatewright.training import checkpoint, loop
from gatewright.training.loop import Trainer
from gatewright.training.parallel import Parallel
from gatewright.training.saver import Saver
from gatewright.training.store import CheckpointStore

MODEL = {"feedforward": "paglu", "activation": None, "alpha": "learnable", "dropout": 0.1}


def sums(run: Run) -> dict[str, dict[str, Any]]:
    """By checkpoint what its manifest says of weights and optimizer."""
    manifests = {path.name: json.loads((path / "manifest.json").read_text()) for path in run.checkpoints()}
    return {
        name: {file: entry for file, entry in manifest["files"].items() if file.endswith(".safetensors")}
        | {"score": manifest["score"]}
        for name, manifest in manifests.items()
    }


def test_files_and_losses_are_those_of_writing_at_once(tiny: Callable[..., Config], console: Console) -> None:
    behind, at_once = (
        gatewright.train(tiny(f"run-{flag}", model=MODEL, keep_last=2, async_checkpoints=flag), console=console)
        for flag in (True, False)
    )
    assert [r["loss"] for r in behind.train_records()] == [r["loss"] for r in at_once.train_records()]
    assert sums(behind) == sums(at_once)
    assert len(sums(behind)) >= 2


def test_training_goes_on_while_a_checkpoint_is_written(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file, advance, further = checkpoint.safetensors.torch.save_file, Trainer.advance, threading.Event()

    def save_late(tensors: Any, path: Path, metadata: Any = None) -> None:
        if ".step-4." in str(path):
            assert further.wait(60), "training waits for the checkpoint"
        save_file(tensors, path, metadata)

    def advance_and_tell(self: Trainer) -> None:
        advance(self)
        if self.state.step == 7:
            further.set()

    monkeypatch.setattr(checkpoint.safetensors.torch, "save_file", save_late)
    monkeypatch.setattr(Trainer, "advance", advance_and_tell)
    late = gatewright.train(tiny("late", keep_last=3), console=console)
    monkeypatch.undo()
    whole = gatewright.train(tiny("whole", keep_last=3, async_checkpoints=False), console=console)
    assert sums(late) == sums(whole)


def test_a_failure_behind_the_training_is_raised_at_the_end_at_the_latest(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensors: Any, path: Path, metadata: Any = None) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint.safetensors.torch, "save_file", full)
    config = tiny(save_every=12)
    with pytest.raises(RunError, match=r"step-12: No space left on device; earlier checkpoints are intact"):
        gatewright.train(config, console=console)
    run = Run(config.out)
    assert run.status == "failed"
    assert len(run.train_records()) == 12
    assert run.checkpoints() == []


def test_an_error_waits_for_the_checkpoint_under_way(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file, failed = checkpoint.safetensors.torch.save_file, threading.Event()
    advance, write_summary = Trainer.advance, Trainer.write_summary

    def save_late(tensors: Any, path: Path, metadata: Any = None) -> None:
        assert failed.wait(60)
        save_file(tensors, path, metadata)

    def advance_or_fail(self: Trainer) -> None:
        if self.state.step == 5:
            raise KeyError("a bug")
        advance(self)

    def tell(self: Trainer, status: str, error: str | None = None) -> None:
        write_summary(self, status, error)
        if status == "failed":
            failed.set()

    monkeypatch.setattr(checkpoint.safetensors.torch, "save_file", save_late)
    monkeypatch.setattr(Trainer, "advance", advance_or_fail)
    monkeypatch.setattr(Trainer, "write_summary", tell)
    config = tiny()
    with pytest.raises(KeyError, match="a bug"):
        gatewright.train(config, console=console)
    assert Run(config.out).checkpoint("last").name == "step-4"


def test_no_memory_for_the_copy_says_what_to_do(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: Any) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(loop, "take_snapshot", exhausted)
    with pytest.raises(RunError, match=r"set train\.async_checkpoints=false"):
        gatewright.train(tiny(), console=console)


def test_a_snapshot_does_not_change_with_the_model(tmp_path: Path) -> None:
    from gatewright.training.checkpoint import TrainerState, load_weights, take_snapshot
    from gatewright.training.optimizer import Optimizers

    model = torch.nn.Sequential(torch.nn.Linear(3, 3, bias=False), torch.nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight  # tied: written once
    optimizers = Optimizers(model, Config().train, torch.device("cpu"))
    model(torch.ones(1, 3)).sum().backward()
    optimizers.optimizers[0].step()
    before = model[0].weight.detach().clone()
    snapshot = take_snapshot(model, None, optimizers, TrainerState(), "", {}, True)
    optimizers.optimizers[0].step()
    assert sorted(snapshot.write(tmp_path)) == sorted(path.name for path in tmp_path.iterdir())
    load_weights(tmp_path, model)
    assert model[1].weight is model[0].weight
    assert torch.equal(model[0].weight, before)
    assert list(checkpoint.safetensors.torch.load_file(tmp_path / "model.safetensors")) == ["0.weight"]


def test_an_error_takes_note_of_a_checkpoint_that_failed_beside_it(tmp_path: Path) -> None:
    class Full:
        def write(self, folder: Path) -> list[str]:
            raise OSError(errno.ENOSPC, "No space left on device")

    saver = Saver(CheckpointStore(tmp_path), Parallel(torch.device("cpu")), background=True)
    saver.save(3, Full(), None)  # type: ignore[arg-type]
    with pytest.raises(KeyError) as caught, saver:
        raise KeyError("a bug")
    assert "step-3: No space left on device" in caught.value.__notes__[0]
