"""A run that stops and goes on is the run that never stopped."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from safetensors.torch import load_file

import gatewright
from gatewright.config import Config
from gatewright.errors import UserError
from gatewright.run import Run

CLOCKS = {"time", "tokens_per_second", "flops_per_second", "mfu"}
CLOCKS |= {"memory_bytes", "peak_memory_bytes", "reserved_memory_bytes"}


def numbers(run: Run) -> list[dict[str, Any]]:
    """All records without what depends on the clock and the machine's memory."""
    return [{key: value for key, value in record.items() if key not in CLOCKS} for record in run.metrics()]


def stopped(config: Config, after: int, monkeypatch: pytest.MonkeyPatch, console: Console) -> None:
    """Train ``config`` and die without any farewell once ``after`` updates are done."""
    from gatewright.training.loop import Trainer

    class Killed(BaseException):
        pass

    advance = Trainer.advance

    def advance_or_die(self: Trainer) -> None:
        if self.state.step == after:
            raise Killed
        advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "advance", advance_or_die)
        patch.setattr(Trainer, "fail", lambda self, error: None)
        with pytest.raises(Killed):
            gatewright.train(config, console=console)


@pytest.mark.parametrize(
    ("model", "train"),
    [
        ({"dropout": 0.2, "feedforward": "paglu", "activation": None, "alpha": "scheduler_cosine"}, {}),
        (
            {"dropout": 0.1, "feedforward": "paswishu", "activation": None, "alpha": "learnable"},
            {"grad_accumulation": 2},
        ),
        ({"norm": "rmsnorm", "tie_weights": False}, {"optimizer": "muon", "schedule": "wsd", "log_every": 3}),
    ],
    ids=["dropout and scheduled alpha", "accumulation and learnable alpha", "muon"],
)
def test_resumed_run_equals_the_uninterrupted_one_bit_for_bit(
    tiny: Callable[..., Config],
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, Any],
    train: dict[str, Any],
) -> None:
    whole = gatewright.train(tiny("whole", model=model, **train), console=console)
    # stop between two checkpoints, so that steps have to be repeated and records dropped
    stopped(tiny("parts", model=model, **train), 7, monkeypatch, console)
    parts = gatewright.train(tiny("parts", resume="auto", model=model, **train), console=console)

    assert numbers(parts) == numbers(whole)
    assert len({(record["kind"], record["step"]) for record in parts.metrics()}) == len(parts.metrics())
    ours, theirs = (load_file(run.checkpoint("last") / "model.safetensors") for run in (parts, whole))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)
    for key in ("best_val_loss", "best_val_step", "final_train_loss", "final_val_loss", "tokens", "alpha", "status"):
        assert parts.summary[key] == whole.summary[key]
    assert parts.environment["resumed"][0]["step"] == 4


def test_repeating_a_run_from_its_own_config_repeats_its_numbers(tiny: Callable[..., Config], console: Console) -> None:
    first = gatewright.train(tiny("first", model={"dropout": 0.1}), console=console)
    config = first.config
    config.out = str(first.path.parent / "second")
    second = gatewright.train(config, console=console)
    assert numbers(second) == numbers(first)


def test_other_seeds_give_other_numbers(tiny: Callable[..., Config], console: Console) -> None:
    first = gatewright.train(tiny("first"), console=console)
    second = gatewright.train(tiny("second", seed=1), console=console)
    assert first.train_records()[0]["loss"] != second.train_records()[0]["loss"]


def test_finished_run_is_left_alone(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(), console=console)
    before = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    again = gatewright.train(tiny(resume="auto"), console=console)
    assert again.status == "finished"
    assert {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()} == before


def test_raising_max_steps_continues_a_finished_run(tiny: Callable[..., Config], console: Console) -> None:
    gatewright.train(tiny(schedule="constant", warmup_steps=2), console=console)
    longer = gatewright.train(tiny(resume="auto", schedule="constant", warmup_steps=2, max_steps=16), console=console)
    whole = gatewright.train(tiny("whole", schedule="constant", warmup_steps=2, max_steps=16), console=console)
    assert numbers(longer) == numbers(whole)
    assert longer.summary["steps"] == longer.config.train.max_steps == 16


def test_without_a_run_resume_auto_begins_one(tiny: Callable[..., Config], console: Console) -> None:
    run = gatewright.train(tiny(resume="auto"), console=console)
    assert run.status == "finished"
    assert "resumed" not in run.environment


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"seed": 5}, "train.seed is 5 here but 0"),
        ({"batch_size": 8}, "train.batch_size x train.grad_accumulation is 8 here but 4"),
        ({"model": {"n_layer": 3}}, "model.n_layer is 3 here but 2"),
        ({"model": {"norm": "rmsnorm"}}, "model.norm is 'rmsnorm' here but 'layernorm'"),
        ({"learning_rate": 0.1}, "train.learning_rate is 0.1 here but 0.003"),
        ({"max_steps": 8}, "train.max_steps=8: the run in"),
    ],
)
def test_resuming_as_another_run_names_the_key(
    tiny: Callable[..., Config], console: Console, change: dict[str, Any], key: str
) -> None:
    run = gatewright.train(tiny(), console=console)
    before = (run.path / "metrics.jsonl").read_text()
    with pytest.raises(UserError, match=re.escape(key)):
        gatewright.train(tiny(resume="auto", **change), console=console)
    assert (run.path / "metrics.jsonl").read_text() == before
    assert Run(run.path).status == "finished"


def test_splitting_the_batch_differently_does_not_make_another_run(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(tiny(), 7, monkeypatch, console)
    run = gatewright.train(tiny(resume="auto", batch_size=2, grad_accumulation=2), console=console)
    whole = gatewright.train(tiny("whole"), console=console)
    assert run.summary["final_val_loss"] == pytest.approx(whole.summary["final_val_loss"], rel=1e-5)


def test_resuming_on_other_text_is_refused(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stopped(tiny(), 7, monkeypatch, console)
    config = tiny(resume="auto")
    moved = shutil.copytree(config.data.path, tmp_path / "moved")
    config.data.path = str(moved)
    (moved / "00.txt").write_text("something else altogether " * 40)
    with pytest.raises(UserError, match=r"the text of data.source is no longer what the run was trained on"):
        gatewright.train(config, console=console)
    shutil.copy(Path(tiny().data.path) / "00.txt", moved)
    assert gatewright.train(config, console=console).status == "finished"
