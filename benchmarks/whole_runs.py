"""What a user waits for besides steps: the command line's first word, a run's start, and a study of twelve runs.

    python benchmarks/whole_runs.py

The study has two arms and six seeds, and two workers; the same twelve runs are then started by hand, one after another,
with all cores for each. Everything is timed from outside, as whole processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from turns import spread

from gatewright.files import write_atomic

ARMS = {"gelu": "model.feedforward=standard", "swiglu": "model.feedforward=swiglu"}
SEEDS = range(6)
COMPILED = {"the model": "true", "its layers": "blocks"}


def main(
    steps: Annotated[int, typer.Option(min=1, help="of a run")] = 300,
    repeats: Annotated[int, typer.Option(min=1, help="of what is short")] = 5,
    compiled: Annotated[bool, typer.Option(help="compile the runs")] = True,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print seconds."""
    base = ["model=small", f"train.max_steps={steps}", f"train.compile={str(compiled).lower()}",
            "train.eval_tokens=8192", "train.tensorboard=false", "train.checkpoint_at_end=false"]  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        commands = {
            "gatewright --help": ["--help"],
            "gatewright parts": ["parts"],
            "gatewright compare, one run": ["compare", f"{folder}/first"],
            "gatewright train, one step": ["train", *base, "train.max_steps=1", "train.eval_tokens=1"],
        }
        timed("train", *base, "train.max_steps=2", f"out={folder}/first")  # prepares the corpus, fills caches
        rows = []
        for name, command in commands.items():
            own = [[f"out={folder}/{repeat}"] if command[0] == "train" else [] for repeat in range(repeats)]
            rows.append({"name": name, "seconds": spread([timed(*command, *more) for more in own])})
        for what, choice in COMPILED.items() if compiled else ():
            cache = folder / f"cache-{choice}"
            options = ["model.n_layer=12", "train.max_steps=1", "train.eval_tokens=1", f"train.compile={choice}"]
            name = f"one step of 12 layers, {what} compiled for the first time"
            seconds = timed("train", *base, *options, f"out={folder}/{choice}", TORCHINDUCTOR_CACHE_DIR=str(cache))
            rows.append({"name": name, "seconds": [seconds] * 3})
        study = folder / "study.yaml"
        arms = ", ".join(f"{name}: {{overrides: [{option}]}}" for name, option in ARMS.items())
        head = f"name: twelve\nbase: [{', '.join(base)}]\nbaseline: gelu\n"
        study.write_text(f"{head}seeds: {list(SEEDS)}\narms: {{{arms}}}\n")
        together = timed("study", "run", study, "--workers", 2, "--out", folder / "study")
        alone = sum(
            timed("train", *base, option, f"train.seed={seed}", f"out={folder}/{name}-{seed}")
            for seed in SEEDS
            for name, option in ARMS.items()
        )
    rows += [
        {"name": f"a study of {len(ARMS) * len(SEEDS)} runs of {steps} steps, two workers", "seconds": [together] * 3},
        {"name": "the same runs by hand, one after another", "seconds": [alone] * 3},
    ]
    table = Table("", "seconds", title=f"by hand takes {alone / together:.2f} times as long as the study")
    for row in rows:
        table.add_row(str(row["name"]), f"{row['seconds'][0]:.2f}")
    Console().print(table)
    if out is not None:
        found = {"machine": describe_machine(), "by_hand_over_study": alone / together, "rows": rows}
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def timed(*arguments: object, **environment: str) -> float:
    """Seconds that ``gatewright`` takes. Raises `SystemExit` with its complaint."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "gatewright", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - began


if __name__ == "__main__":
    typer.run(main)
