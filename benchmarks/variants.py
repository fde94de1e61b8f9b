"""Gatewright beside itself: what a gate costs, and logging, and each of the defaults that make it fast.

    python benchmarks/variants.py gates
    python benchmarks/variants.py logging --shape mid

As in training.py, each turn is a process, and what counts is the median of the ratios within a turn.
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
from turns import SHAPES, Contender, letters, summarise, take_turns

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
    turns: Annotated[int, typer.Option(min=1, help="turns of each")] = 5,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print tokens per second, memory and ratios."""
    if case not in CASES:
        raise typer.BadParameter(f"{case}: choose one of {', '.join(CASES)}")
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    size = SHAPES[shape]
    with letters() as text:
        field = [Contender(name, options=options) for name, options in CASES[case].items()]
        rows = summarise(field, take_turns(field, size, text, turns, check=False))
    found = {"case": case, "shape": shape, **asdict(size), "turns": turns, "machine": describe_machine(), "rows": rows}
    show(found)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def show(found: dict[str, Any]) -> None:
    """The table."""
    title = f"{found['case']}, {found['shape']}: median (least to most) of {found['turns']} turns"
    table = Table("", "tokens/s", "×", "options", "peak memory", title=title)
    for row in found["rows"]:
        median, low, high = row["first_over_it"]
        table.add_row(
            row["name"],
            f"{row['tokens_per_second'][0]:,.0f}",
            f"{1 / median:.2f} ({1 / high:.2f} to {1 / low:.2f})",
            row["mode"],
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
