"""What a user waits for besides steps: the command line's first word, a run's start, and a study of twelve runs.

    python benchmarks/whole_runs.py

The study has two arms and six seeds, and two workers; the same twelve runs are started by hand, one after another with
all cores for each, half of them before the study and half after it, for the machine may change its pace meanwhile. All
of this is done for compiled runs and for others. Everything is timed from outside, as whole processes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from turns import spread

from gatewright.files import write_atomic

ARMS = {"gelu": "model.feedforward=standard", "swiglu": "model.feedforward=swiglu"}
SEEDS = range(6)
BASE = ["model=small", "train.eval_tokens=8192", "train.tensorboard=false", "train.checkpoint_at_end=false"]
ONE_STEP = ["train.max_steps=1", "train.eval_tokens=1"]
COMPILED = {"the model": "true", "its layers": "blocks"}


def main(
    steps: Annotated[int, typer.Option(min=1, help="of a run")] = 200,
    repeats: Annotated[int, typer.Option(min=1, help="of what is short")] = 5,
    compiled: Annotated[bool, typer.Option(help="also measure what is compiled")] = True,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print seconds."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        rows = [*short(folder, repeats, compiled), *(cold(folder) if compiled else ())]
        choices = {"compiled": "true", "not compiled": "false"} if compiled else {"not compiled": "false"}
        studies = []
        for runs, choice in choices.items():
            options = [*BASE, f"train.compile={choice}", f"train.max_steps={steps}"]
            together, alone = study_and_by_hand(folder / runs, options)
            studies.append({"runs": runs, "study": together, "by_hand": alone})
    table = Table("", "seconds")
    for row in rows:
        table.add_row(row["name"], f"{row['seconds'][0]:.2f}")
    Console().print(table)
    count = len(ARMS) * len(SEEDS)
    table = Table(f"{count} runs of {steps} steps", "by hand", "study, two workers", "times as fast")
    for found in studies:
        ratio = found["by_hand"] / found["study"]
        table.add_row(found["runs"], f"{found['by_hand']:.1f}", f"{found['study']:.1f}", f"{ratio:.2f}")
    Console().print(table)
    if out is not None:
        found = {"machine": describe_machine(), "rows": rows, "count": count, "steps": steps, "studies": studies}
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def short(folder: Path, repeats: int, compiled: bool) -> list[dict[str, Any]]:
    """Commands of seconds, each several times."""
    run = ["train", *BASE, f"train.compile={str(compiled).lower()}"]
    timed(*run, "train.max_steps=2", f"out={folder}/first")  # prepares the corpus, fills caches
    commands = {
        "gatewright --help": ["--help"],
        "gatewright parts": ["parts"],
        "gatewright compare, one run": ["compare", f"{folder}/first"],
        f"gatewright train, one step{', compiled before' * compiled}": [*run, *ONE_STEP],
    }
    rows = []
    for name, command in commands.items():
        own = [[f"out={folder}/{repeat}"] if command[0] == "train" else [] for repeat in range(repeats)]
        rows.append({"name": name, "seconds": spread([timed(*command, *more) for more in own])})
    return rows


def cold(folder: Path) -> list[dict[str, Any]]:
    """One step from an empty cache of compiled code."""
    rows = []
    for what, choice in COMPILED.items():
        cache = folder / f"cache-{choice}"
        options = ["model.n_layer=12", *ONE_STEP, f"train.compile={choice}"]
        seconds = timed("train", *BASE, *options, f"out={folder}/{choice}", TORCHINDUCTOR_CACHE_DIR=str(cache))
        name = f"one step of 12 layers, {what} compiled for the first time"
        rows.append({"name": name, "seconds": [seconds] * 3})
    return rows


def study_and_by_hand(folder: Path, options: list[str]) -> tuple[float, float]:
    """Seconds of the study, and of its runs started by hand."""
    folder.mkdir()
    plan = {"name": "twelve", "base": options, "baseline": "gelu", "seeds": [*SEEDS]}
    arms = {name: {"overrides": [override]} for name, override in ARMS.items()}
    (folder / "study.yaml").write_text(json.dumps({**plan, "arms": arms}))
    runs = [
        ["train", *options, override, f"train.seed={seed}", f"out={folder}/{name}-{seed}"]
        for seed in SEEDS
        for name, override in ARMS.items()
    ]
    half = len(runs) // 2
    before = sum(timed(*run) for run in runs[:half])
    together = timed("study", "run", folder / "study.yaml", "--workers", 2, "--out", folder / "study")
    return together, before + sum(timed(*run) for run in runs[half:])


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
