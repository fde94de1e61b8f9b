"""Verbs for those who write parts: new, try."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli.app import FAILURE, Overrides, app, console, plain
from gatewright.errors import UserError


@app.command("new")
def new_part(
    kind: Annotated[str, typer.Argument(help="gate, activation, norm, feedforward or alpha", show_default=False)],
    name: Annotated[str, typer.Argument(help="what it will be called in configurations", show_default=False)],
    to: Annotated[Path | None, typer.Option(help="the file to write; NAME.py if left out")] = None,
) -> None:
    """Write the file of a new part: complete, commented, working, and meant to be changed.

    [bold]gatewright new gate my_gate[/bold]
    """
    from gatewright.scaffold import write_part

    path = write_part(kind, name, to)
    console.print(f"wrote {plain(str(path))}; change it, then: gatewright try {plain(str(path))}", soft_wrap=True)


@app.command("try")
def try_file(
    file: Annotated[Path, typer.Argument(help="a Python file with one registered part", show_default=False)],
    overrides: Overrides = None,
    study: Annotated[bool, typer.Option("--study/--no-study", help="train it beside its rivals, or not")] = True,
    out: Annotated[Path | None, typer.Option(help="folder of the study; runs/try-<name> if left out")] = None,
    seeds: Annotated[int | None, typer.Option(help="of each arm, from 0; about 12 trials if left out")] = None,
    workers: Annotated[int | None, typer.Option(help="trials at a time")] = None,
) -> None:
    """Try a new part: check its contract, show its cost, and train it beside strong baselines at equal parameters.

    The file is executed. Overrides hold for all arms. About five minutes on two cores; the contract takes ten seconds
    of it. The study ends in a report; run the same command again to continue one that was stopped.

    [bold]gatewright try my_gate.py[/bold]

    [bold]gatewright try my_gate.py --no-study[/bold]

    [bold]gatewright try my_gate.py --seeds 5 data=files data.path=notes/ train.max_steps=1000[/bold]
    """
    from gatewright.tryout import try_part

    if not study and (overrides or out or seeds or workers):
        raise UserError("--no-study trains nothing, so overrides, --out, --seeds and --workers have no effect with it")
    if not try_part(file, overrides or [], study=study, out=out, seeds=seeds, workers=workers, console=console):
        raise typer.Exit(FAILURE)
