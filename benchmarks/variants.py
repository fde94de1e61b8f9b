"""Gatewright beside itself: what a gate costs, and logging, and each of the defaults that make it fast.

    python benchmarks/variants.py gates
    python benchmarks/variants.py logging --shape mid

All runs live at once and take turns of a few steps, in an order that changes: a machine that slows down for seconds
slows all of them. What counts is the median over the rounds of the ratio to the first, with a bootstrap interval.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from contenders.job import Job
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from scipy import stats
from turns import FOLDER, SHAPES, Shape, letters, spread

from gatewright.files import write_atomic

CASES = {
    "gates": {
        "standard": (),
        "swiglu": ("model.feedforward=swiglu", "model.activation=null"),
        **{
            f"{unit}, {kind} α": (f"model.feedforward={unit}", "model.activation=null", f"model.alpha={alpha}")
            for unit in ("pasilu", "pagelu")
            for kind, alpha in (("fixed", "0.5"), ("learnable", "learnable"))
        },
    },
    "logging": {
        "every 200 steps": ("train.log_every=200", "train.tensorboard=false"),
        "every step, TensorBoard": ("train.log_every=1", "train.tensorboard=true"),
    },
    "precision": {
        "defaults": (),
        "float32": ("train.precision=float32",),
        "eager": ("train.compile=false",),
        "float32, eager": ("train.precision=float32", "train.compile=false"),
        "not deterministic": ("train.deterministic=false",),
    },
}
"""For each question the options by name; the first is what the others are compared with."""
console = Console()


def main(
    case: Annotated[str, typer.Argument(help=f"one of {', '.join(CASES)}")],
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "small",
    rounds: Annotated[int, typer.Option(min=2, help="turns of each")] = 60,
    steps: Annotated[int, typer.Option(min=1, help="steps of a turn")] = 5,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print tokens per second, memory and ratios."""
    if case not in CASES:
        raise typer.BadParameter(f"{case}: choose one of {', '.join(CASES)}")
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    size = SHAPES[shape]
    with letters() as text:
        rows = compare(CASES[case], size, text, rounds, steps)
    found = {"case": case, "shape": shape, **asdict(size), "rounds": rounds, "steps_of_a_turn": steps,
             "machine": describe_machine(), "rows": rows}  # fmt: skip
    show(found)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def compare(
    case: Mapping[str, Sequence[str]], size: Shape, text: Path, rounds: int, steps: int
) -> list[dict[str, Any]]:
    """Every variant's speed, its ratio to the first, and its memory."""
    seconds: dict[str, list[float]] = {name: [] for name in case}
    with ExitStack() as stack:
        runs = {name: stack.enter_context(Run(options, size, text)) for name, options in case.items()}
        for run in runs.values():
            run.take_turn(max(size.warmup, 3))
        for number in range(rounds):
            for name in random.Random(number).sample(list(runs), len(runs)):
                seconds[name].append(runs[name].take_turn(steps))
        memory = {name: run.peak_memory_bytes for name, run in runs.items()}
    first = next(iter(seconds.values()))
    return [
        {
            "name": name,
            "mode": " ".join(case[name]) or "defaults",
            "tokens_per_second": spread([steps * size.tokens / value for value in values]),
            "times_the_first": interval([its / mine for its, mine in zip(first, values, strict=True)]),
            "peak_memory_bytes": memory[name],
        }
        for name, values in seconds.items()
    ]


class Run:
    """A run in a process of its own that waits for its turns."""

    def __init__(self, options: Sequence[str], size: Shape, text: Path) -> None:
        job = Job(**asdict(size), precision="", compiled=False, text=str(text))
        command = [sys.executable, str(FOLDER / "by_steps.py"), json.dumps(asdict(job)), *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.peak_memory_bytes = 0

    def __enter__(self) -> Run:
        self.read()  # that it is ready
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def take_turn(self, steps: int) -> float:
        """Seconds of so many steps."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.read()

    def read(self) -> float:
        """Seconds of the last turn. `SystemExit` where the run has ended, which has said why."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a run ended early")
        answer = json.loads(line)
        self.peak_memory_bytes = answer["peak_memory_bytes"]
        return float(answer["seconds"])


def interval(ratios: Sequence[float]) -> list[float]:
    """Their median and its bootstrap interval of 95 %."""
    if len(set(ratios)) == 1:
        return [ratios[0]] * 3
    found = stats.bootstrap((ratios,), np.median, method="percentile", rng=np.random.default_rng(0))
    return [float(np.median(ratios)), *map(float, found.confidence_interval)]


def show(found: dict[str, Any]) -> None:
    """The table."""
    title = f"{found['case']}, {found['shape']}: median of {found['rounds']} rounds (95 % interval)"
    table = Table("", "tokens/s", "×", "options", "peak memory", title=title)
    for row in found["rows"]:
        table.add_row(
            row["name"],
            f"{row['tokens_per_second'][0]:,.0f}",
            "{:.3f} ({:.3f} to {:.3f})".format(*row["times_the_first"]),
            row["mode"],
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
