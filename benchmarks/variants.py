"""Gatewright beside itself: what a gate costs, and logging, and each of the defaults that make it fast.

    python benchmarks/variants.py gates
    python benchmarks/variants.py logging --shape mid

All runs live at once and take turns of a few steps, in an order that changes: a machine that slows down for seconds
slows all of them. What counts is the median over the rounds of the ratio to the first, with a bootstrap interval.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from turns import SHAPES, Contender, letters, take_turns

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
        "every step": ("train.log_every=1", "train.tensorboard=false"),
        "every step, TensorBoard": ("train.log_every=1", "train.tensorboard=true"),
    },
    "precision": {
        "defaults": (),
        "float32": ("train.precision=float32",),
        "eager": ("train.compile=false",),
        "float32, eager": ("train.precision=float32", "train.compile=false"),
        "not deterministic": ("train.deterministic=false",),
    },
    "compilation": {
        "the model": ("train.compile=true",),
        "its layers": ("train.compile=blocks",),
        "nothing": ("train.compile=false",),
    },
    "memory": {
        "defaults": (),
        "blocks formed again": ("train.recompute=blocks",),
    },
}
"""For each question the options by name; the first is what the others are compared with."""
console = Console()


def main(
    case: Annotated[str, typer.Argument(help=f"one of {', '.join(CASES)}")],
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "small",
    rounds: Annotated[int, typer.Option(min=2, help="turns of each")] = 60,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print tokens per second, memory and ratios."""
    if case not in CASES:
        raise typer.BadParameter(f"{case}: choose one of {', '.join(CASES)}")
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    size = SHAPES[shape]
    with letters() as text:
        field = [Contender(name, size, options=options) for name, options in CASES[case].items()]
        runs = take_turns(field, text, rounds)
    found = {"case": case, "shape": shape, **asdict(size), "rounds": rounds, "machine": describe_machine(),
             "rows": [run.facts() | {"times_the_first": run.times_as_fast_as(runs[0])} for run in runs]}  # fmt: skip
    show(found)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")


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
