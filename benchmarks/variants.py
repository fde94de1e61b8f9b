"""Gatewright beside itself: what a gate costs, what logging costs, and how cost grows with a model.

    python benchmarks/variants.py gates
    python benchmarks/variants.py scale --shape small

As in training.py, each turn is a process, and what counts is the median of the ratios within a turn.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from turns import SHAPES, Contender, Shape, letters, spread, summarise, take_turns

import gatewright as gw
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
DOUBLED = ("n_layer", "block_size", "n_embd", "vocab_size", "batch_size")
console = Console()


def main(
    case: Annotated[str, typer.Argument(help=f"one of {', '.join(CASES)}, scale")],
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "small",
    turns: Annotated[int, typer.Option(min=1, help="turns of each")] = 5,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print tokens per second, memory and ratios."""
    if case not in (*CASES, "scale"):
        raise typer.BadParameter(f"{case}: choose one of {', '.join(CASES)}, scale")
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    size = SHAPES[shape]
    with letters() as text:
        if case == "scale":
            rows = scale(size, text, turns)
        else:
            field = [Contender(name, options=options) for name, options in CASES[case].items()]
            rows = summarise(field, take_turns(field, size, text, turns, check=False))
    found = {"case": case, "shape": shape, **asdict(size), "turns": turns, "machine": describe_machine(), "rows": rows}
    show(found)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def scale(size: Shape, text: Path, turns: int) -> list[dict[str, Any]]:
    """Seconds of a step when one dimension is doubled, as a multiple of before; and FLOPs of a step likewise."""
    shapes = {"as it is": size} | {f"{key} doubled": replace(size, **{key: 2 * getattr(size, key)}) for key in DOUBLED}
    seconds: dict[str, list[float]] = {name: [] for name in shapes}
    memory: dict[str, list[int]] = {name: [] for name in shapes}
    for _ in range(turns):
        for name, each in shapes.items():
            answer = Contender("gatewright").take_turn(each, text)
            seconds[name].append(each.tokens / answer.tokens_per_second)
            memory[name].append(answer.peak_memory_bytes)
    rows = []
    for name, each in shapes.items():
        flops = gw.cost(gw.load_config(["model=gpt2", *each.model_options]).model).flops_per_token
        ratios = [mine / plain for mine, plain in zip(seconds[name], seconds["as it is"], strict=True)]
        rows.append(
            {
                "name": name,
                "mode": "defaults",
                "seconds_per_step": spread(seconds[name]),
                "flops_per_step": flops * each.tokens,
                "times_the_seconds": spread(ratios),
                "peak_memory_bytes": spread(memory[name])[0],
            }
        )
    return rows


def show(found: dict[str, Any]) -> None:
    """The table."""
    table = Table(title=f"{found['case']}, {found['shape']}: median (least to most) of {found['turns']} turns")
    scaling = found["case"] == "scale"
    for heading in (
        "",
        "ms a step" if scaling else "tokens/s",
        "×",
        "FLOPs ×" if scaling else "options",
        "peak memory",
    ):
        table.add_column(heading)
    for row in found["rows"]:
        if scaling:
            speed, ratio = [1e3 * x for x in row["seconds_per_step"]], row["times_the_seconds"]
            last = f"{row['flops_per_step'] / found['rows'][0]['flops_per_step']:.2f}"
        else:
            (median, low, high), last = row["first_over_it"], row["mode"]
            speed, ratio = row["tokens_per_second"], [1 / median, 1 / high, 1 / low]
        table.add_row(
            row["name"],
            f"{speed[0]:,.1f}" if scaling else f"{speed[0]:,.0f}",
            f"{ratio[0]:.2f} ({ratio[1]:.2f} to {ratio[2]:.2f})",
            last,
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
