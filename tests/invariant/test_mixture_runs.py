"""Runs on a mixture of sources: resumed, judged source by source, evaluated anew, and continued only as they were."""

from __future__ import annotations

import copy
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file
from test_resume import numbers, stopped

import gatewright
from gatewright.config import Config, DataConfig
from gatewright.errors import UserError
from gatewright.evaluate import evaluate_run, evaluate_text, evaluation_text, find_target
from gatewright.run import Run


@pytest.fixture
def mixed(tiny: Callable[..., Config], text_folder: Path, tmp_path: Path) -> Callable[..., Config]:
    """`tiny` on three parts sentences and one part shouting."""
    loud = tmp_path / "loud"
    loud.mkdir()
    draw = random.Random(1)
    for number in range(12):
        (loud / f"{number:02}.txt").write_text(" ".join(draw.choices(["THE", "GATE", "IS", "SHUT"], k=80)))

    def make(out: str = "run", weight: float = 0.25, path: Path = loud, **others: Any) -> Config:
        config = tiny(out, **others)
        config.data.sources = {"plain": {"weight": 0.75}, "loud": {"path": str(path), "weight": weight}}
        return config

    return make


def test_a_resumed_run_on_a_mixture_equals_the_uninterrupted_one(
    mixed: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = gatewright.train(mixed("whole"), console=console)
    stopped(mixed("parts"), 7, monkeypatch, console)
    moved = tmp_path / "moved"
    shutil.move(tmp_path / "loud", moved)
    parts = gatewright.train(mixed("parts", resume="auto", path=moved), console=console)
    assert numbers(parts) == numbers(whole)
    ours, theirs = (load_file(run.checkpoint("last") / "model.safetensors") for run in (parts, whole))
    assert all(ours[name].equal(theirs[name]) for name in ours)

    copied = copy.deepcopy(parts.config)
    copied.resume, copied.train.max_steps = "auto", 16
    copied.data.sources["loud"]["weight"] = 0.5
    with pytest.raises(UserError, match=r"cannot resume .* data\.sources\.loud\.weight is 0\.5 here but 0\.25"):
        gatewright.train(copied, console=console)
    (moved / "00.txt").write_text("other words")
    copied.data.sources["loud"]["weight"] = 0.25
    with pytest.raises(UserError, match=r"the text of data\.source is no longer what the run was trained on"):
        gatewright.train(copied, console=console)


def test_every_source_is_judged_and_the_loss_is_theirs_by_share(
    mixed: Callable[..., Config], console: Console, text_folder: Path, tmp_path: Path
) -> None:
    run = gatewright.train(mixed(), console=console)
    assert run.summary is not None
    last = run.eval_records()[-1]
    assert last["val_loss"] == pytest.approx(0.75 * last["val_loss_plain"] + 0.25 * last["val_loss_loud"], rel=1e-12)
    assert last["val_loss_loud"] != last["val_loss_plain"]
    assert last["val_perplexity"] == pytest.approx(math.exp(last["val_loss"]))
    assert run.summary["val_loss_loud"] == last["val_loss_loud"]
    assert run.environment["data"]["source"]["name"] == "75 % plain + 25 % loud"
    assert run.environment["validation"]["tokens"] == 400
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "75 % plain + 25 % loud" in shown
    assert "epochs of loud" in shown

    again = evaluate_run(run, which="last", device="cpu")
    assert again.val_loss == pytest.approx(last["val_loss"], rel=1e-6)
    assert again.by_source["loud"] == pytest.approx(last["val_loss_loud"], rel=1e-6)
    # what the noise of a comparison is estimated from has the loss of the mixture
    nll, tokens = np.sum(run.evaluated_sequences(), axis=0)
    assert nll / tokens == pytest.approx(last["val_loss"])
    assert tokens == pytest.approx(400)

    # each source's own loss is that of a run on it alone with these weights
    alone = Run(run.path).config
    for name, of in alone.data.each_source().items():
        single = copy.deepcopy(alone)
        single.data = of
        single.train.eval_tokens = 200
        own = tmp_path / f"as-{name}"
        shutil.copytree(run.path, own)
        (own / "config.yaml").write_text(gatewright.config.to_yaml(single))
        (own / "environment.json").unlink()
        assert evaluate_run(Run(own), which="last", device="cpu").val_loss == pytest.approx(
            last[f"val_loss_{name}"], rel=1e-6
        )


def test_a_source_of_the_mixture_divided_otherwise_is_refused(
    mixed: Callable[..., Config], console: Console, text_folder: Path
) -> None:
    run = gatewright.train(mixed(max_steps=4), console=console)
    for fraction, raises in ((0.1, False), (0.4, True)):
        text = evaluation_text(DataConfig(source="files", path=str(text_folder), validation_fraction=fraction), 200)
        if raises:
            with pytest.raises(UserError, match=r"data\.validation_fraction=0\.1, so it may have learned this text"):
                evaluate_text(find_target(str(run.path)), text, device="cpu")
        else:
            assert evaluate_text(find_target(str(run.path)), text, device="cpu").evaluation.val_loss > 0
