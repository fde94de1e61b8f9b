"""`gatewright train` beside other people's GPT-2: every turn a process of its own, in turns on the same machine.

    python benchmarks/training.py --shape small --nanogpt ../nanoGPT --python ../peers/bin/python

Each peer is first tried in eager mode and compiled, in float32 and in bf16, and goes on as what was fastest; Gatewright
runs with its defaults. What counts is the median over the turns of the ratio to the neighbour. Peers that are not
installed are named and left out.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from turns import SHAPES, Contender, Shape, letters, summarise, take_turns

import gatewright as gw
from gatewright.files import write_atomic

console = Console()


def main(
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "small",
    turns: Annotated[int, typer.Option(min=1, help="turns of each")] = 5,
    peers: Annotated[str, typer.Option(help="comma-separated: transformers, litgpt, x-transformers, nanogpt")] = "",
    python: Annotated[str, typer.Option(help="an interpreter that has litgpt and x-transformers")] = sys.executable,
    nanogpt: Annotated[str, typer.Option(help="a checkout of nanoGPT")] = "",
    quick: Annotated[bool, typer.Option(help="try peers in eager float32 alone")] = False,
    options: Annotated[str, typer.Option(help="more for gatewright train, such as train.compile=false")] = "",
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print tokens per second, memory and ratios."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    size = SHAPES[shape]
    field = [
        Contender("transformers", "transformers_gpt2.py"),
        Contender("litgpt", "litgpt_gpt.py", python),
        Contender("x-transformers", "x_transformers_decoder.py", python),
        Contender("nanogpt", "nanogpt.py", checkout=nanogpt),
    ]
    field = [each for each in field if not peers or each.name in peers.split(",")]
    with letters() as text:
        chosen = [Contender("gatewright", options=tuple(options.split()))]
        chosen += [best for each in field if (best := best_mode(each, size, text, quick)) is not None]
        rows = summarise(chosen, take_turns(chosen, size, text, turns))
    machine = describe_machine()
    flops = gw.cost(gw.load_config(["model=gpt2", *size.model_options]).model).flops_per_token
    for row in rows:
        row["of_bf16_peak"] = row["tokens_per_second"][0] * flops / machine["peak_bf16"]
    found = {"shape": shape, **asdict(size), "turns": turns, "machine": machine, "contenders": rows}
    show(found)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def best_mode(contender: Contender, shape: Shape, text: Path, quick: bool) -> Contender | None:
    """The fastest of a peer's modes; None if it is not there."""
    modes = [("float32", False)] if quick else [(p, c) for p in ("float32", "bf16") for c in (False, True)]
    best: tuple[float, Contender] | None = None
    for precision, compiled in modes:
        candidate = replace(contender, precision=precision, compiled=compiled)
        try:
            reached = candidate.take_turn(shape, text).tokens_per_second
        except RuntimeError as error:
            console.print(f"{contender.name} ({candidate.mode}) is left out: {error}", markup=False, highlight=False)
            if "ModuleNotFoundError" in str(error):
                return None
            continue
        console.print(f"{contender.name} ({candidate.mode}): {reached:,.0f} tokens/s", highlight=False)
        if best is None or reached > best[0]:
            best = reached, candidate
    return best and best[1]


def show(found: dict[str, Any]) -> None:
    """The table."""
    title = f"{found['shape']}: tokens/s, median (least to most) of {found['turns']} turns"
    table = Table("", "mode", "tokens/s", "of bf16 peak", "peak memory", "gatewright is", title=title)
    for number, row in enumerate(found["contenders"]):
        median, least, most = row["tokens_per_second"]
        ratio, low, high = row["first_over_it"]
        table.add_row(
            row["name"],
            row["mode"],
            f"{median:,.0f} ({least:,.0f} to {most:,.0f})",
            f"{row['of_bf16_peak']:.0%}",
            f"{row['peak_memory_bytes'] / 2**20:,.0f} MiB",
            f"{ratio:.2f}× ({low:.2f} to {high:.2f})" if number else "",
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
