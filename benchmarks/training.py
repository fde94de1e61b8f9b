"""`gatewright train` beside other people's GPT-2: processes that live at once and take turns of a few steps.

    python benchmarks/training.py --shape small --nanogpt ../nanoGPT --python ../peers/bin/python

Each peer is first tried in eager mode and compiled, in float32 and in bf16, and goes on as what was fastest; Gatewright
runs with its defaults. What counts is the median over the rounds of the ratio within a round. Peers that are not
installed are named and left out.
"""

from __future__ import annotations

import json
import statistics
import sys
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from turns import SHAPES, Contender, Run, letters, take_turns

import gatewright as gw
from gatewright.files import write_atomic

TRIES = 7
"""Turns in which a peer's modes are compared."""
console = Console()


def main(
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "small",
    rounds: Annotated[int, typer.Option(min=2, help="turns of each")] = 40,
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
        Contender("transformers", size, "transformers_gpt2.py"),
        Contender("litgpt", size, "litgpt_gpt.py", python),
        Contender("x-transformers", size, "x_transformers_decoder.py", python),
        Contender("nanogpt", size, "nanogpt.py", checkout=nanogpt),
    ]
    field = [each for each in field if not peers or each.name in peers.split(",")]
    with letters() as text:
        chosen = [Contender("gatewright", size, options=tuple(options.split()))]
        chosen += [best for each in field if (best := best_mode(each, text, quick)) is not None]
        runs = take_turns(chosen, text, rounds)
    machine = describe_machine()
    flops = gw.cost(gw.load_config(["model=gpt2", *size.model_options]).model).flops_per_token
    rows = [row(run, runs[0], flops / machine["peak_bf16"]) for run in runs]
    found = {"shape": shape, **asdict(size), "rounds": rounds, "machine": machine, "contenders": rows}
    show(found)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def best_mode(contender: Contender, text: Path, quick: bool) -> Contender | None:
    """The fastest of a peer's modes, tried in turns; None if it is not there."""
    modes = [("float32", False)] if quick else [(p, c) for p in ("float32", "bf16") for c in (False, True)]
    with ExitStack() as stack:
        runs = []
        for precision, compiled in modes:
            candidate = replace(contender, precision=precision, compiled=compiled)
            try:
                runs.append(stack.enter_context(Run(candidate, text)))
            except RuntimeError as error:
                console.print(f"{candidate.mode} is left out: {error}", markup=False, highlight=False)
                if "ModuleNotFoundError" in str(error):
                    return None
        for _ in range(TRIES):
            for run in runs:
                run.take_turn()
    for run in runs:
        reached = statistics.median(run.tokens_per_second)
        console.print(f"{contender.name} ({run.contender.mode}): {reached:,.0f} tokens/s", highlight=False)
    return min(runs, key=lambda run: statistics.median(run.seconds)).contender if runs else None


def row(run: Run, first: Run, of_peak: float) -> dict[str, Any]:
    """A contender, and the first one's ratio to it; a token takes ``of_peak`` of what a second can do."""
    share = statistics.median(run.tokens_per_second) * of_peak
    return run.facts() | {"of_bf16_peak": share, "first_over_it": first.times_as_fast_as(run)}


def show(found: dict[str, Any]) -> None:
    """The table."""
    title = f"{found['shape']}: median of {found['rounds']} rounds"
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
