"""`gatewright train` with all that belongs to it, but that its lines go nowhere and that it waits for its turns."""

from __future__ import annotations

import math
import os
import sys
import tempfile
from pathlib import Path

from job import Turns, asked, train_options
from rich.console import Console

import gatewright as gw
from gatewright.training.loop import Trainer
from gatewright.training.update import StepResult, Updater

turns = Turns()
advance, step = Trainer.advance, Updater.step


def advance_in_turn(trainer: Trainer) -> None:
    """A step, its record and all."""
    turns.wait()
    advance(trainer)


def step_seen(updater: Updater, number: int) -> StepResult:
    """A step whose loss is looked at if it is the first."""
    result = step(updater, number)
    if math.isnan(turns.first_loss):
        turns.first_loss = result.loss.item()
    return result


Trainer.advance = advance_in_turn  # type: ignore[method-assign]
Updater.step = step_seen  # type: ignore[method-assign]
job = asked()
run = Path(tempfile.mkdtemp(dir=Path(job.text).parent)) / "run"
with Path(os.devnull).open("w") as nowhere:
    overrides = [*train_options(job, job.text, run), *sys.argv[2:]]
    gw.train(gw.load_config(overrides), console=Console(file=nowhere))
