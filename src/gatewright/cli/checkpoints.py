"""Verbs for the checkpoints of a run: checkpoint list, verify, export."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from gatewright.cli.app import FAILURE, AsJson, app, console, plain, table

checkpoint_app = typer.Typer(no_args_is_help=True, help="List checkpoints, verify them, take their weights elsewhere.")
app.add_typer(checkpoint_app, name="checkpoint")

Source = Annotated[
    Path, typer.Argument(help="a run directory, or one checkpoint of it", metavar="RUN|CHECKPOINT", show_default=False)
]


@checkpoint_app.command("list")
def list_checkpoints(run: Source, as_json: AsJson = False) -> None:
    """List a run's checkpoints: step, size, score (lower is better), age, and whether all files have their size.

    [bold]gatewright checkpoint list runs/x[/bold]
    """
    from gatewright.training.console import si
    from gatewright.training.shelf import entries

    found = list(entries(run))
    if as_json:
        print(json.dumps([asdict(entry) for entry in found], indent=2))
        return
    listing = table(plain(str(run)), "step", "size", "score", "best", "sound", "age")
    for entry in found:
        listing.add_row(
            f"{entry.step:,}",
            si(entry.bytes, "B"),
            "–" if entry.score is None else f"{entry.score:.4f}",
            "best" if entry.best else "",
            "yes" if entry.fault is None else plain(entry.fault.removeprefix(f"{entry.path}: ")),
            str(timedelta(seconds=int(entry.age_seconds))),
        )
    console.print(listing)


@checkpoint_app.command("verify")
def verify(source: Source) -> None:
    """Read every byte of a run's checkpoints, or of one, and compare checksums; exit status 1 if any is damaged.

    [bold]gatewright checkpoint verify runs/x[/bold]

    [bold]gatewright checkpoint verify runs/x/checkpoints/step-500[/bold]
    """
    from gatewright.training.shelf import find_checkpoints
    from gatewright.training.store import faults

    damaged = False
    for path in find_checkpoints(source):
        problems = list(faults(path))
        damaged = damaged or bool(problems)
        for line in problems or [f"{path}: sound"]:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    if damaged:
        raise typer.Exit(FAILURE)


@checkpoint_app.command("export")
def export(
    source: Source,
    out: Annotated[Path, typer.Argument(help="the folder to write", metavar="OUT", show_default=False)],
    checkpoint: Annotated[
        Literal["best", "last"] | None, typer.Option(help="of a run: lowest validation loss (if left out), or newest")
    ] = None,
) -> None:
    """Write a checkpoint's weights in one file, with config.json and tokenizer, for other programs.

    [bold]gatewright checkpoint export runs/x exported/x --checkpoint last[/bold]

    [bold]gatewright checkpoint export runs/x/checkpoints/step-500 exported/x-500[/bold]
    """
    from gatewright.training.shelf import export, tokenizer_of

    written = export(source, out, checkpoint)
    remark = "" if tokenizer_of(written) else ", without a tokenizer: it lies in no run directory"
    console.print(f"wrote {out} from {written}{remark}", highlight=False, markup=False, soft_wrap=True)
