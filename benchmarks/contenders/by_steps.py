"""`gatewright train`, a number of steps whenever a line with that number comes in; each is answered with a line."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

from job import asked, train_options
from rich.console import Console

import gatewright as gw
from gatewright.hardware.memory import memory
from gatewright.training.loop import Trainer

left, began = 0, 0.0
plain = Trainer.advance


def advance(trainer: Trainer) -> None:
    """One step, its record and all, if there is one left of what was asked for; otherwise wait to be asked."""
    global left, began
    if left == 0:
        seconds, peak = time.perf_counter() - began, memory(trainer.device).peak
        print(json.dumps({"seconds": seconds, "peak_memory_bytes": peak}), flush=True)
        left = int(sys.stdin.readline() or os._exit(0))
        began = time.perf_counter()
    plain(trainer)
    left -= 1


Trainer.advance = advance  # type: ignore[method-assign]
job = asked()
with tempfile.TemporaryDirectory() as place, Path(os.devnull).open("w") as nowhere:
    overrides = [*train_options(job, job.text, Path(place) / "run"), *sys.argv[2:]]
    gw.train(gw.load_config(overrides), console=Console(file=nowhere))
