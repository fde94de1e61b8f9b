"""Verbs that look at runs: watch, while they train, and compare, when they are done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli.app import app, console
from gatewright.errors import UserError


@app.command()
def watch(
    folder: Annotated[
        Path, typer.Argument(help="a run, a study, or a folder of them", metavar="DIR", show_default=False)
    ],
    once: Annotated[bool, typer.Option("--once", help="print one frame and stop; so do pipes and logs")] = False,
    interval: Annotated[float, typer.Option(min=0.2, help="seconds between frames")] = 1.0,
) -> None:
    """Follow running trainings live: progress, losses, speed, the time left, CPU and memory. Ctrl-C leaves.

    [bold]gatewright watch runs/demo[/bold]
    """
    from gatewright.watch import watch

    watch(folder, once=once, interval=interval, console=console)


@app.command()
def compare(
    runs: Annotated[
        list[Path] | None, typer.Argument(help="runs, or folders of them such as a study's", metavar="RUN")
    ] = None,
    latest: Annotated[int | None, typer.Option(min=1, help="the newest N runs below --in, instead of RUN…")] = None,
    folder: Annotated[Path | None, typer.Option("--in", help="where --latest looks; runs if left out")] = None,
    baseline: Annotated[
        str | None, typer.Option(help="an arm, or one of its runs; the study's, or the first run's, if left out")
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="val_loss, val_perplexity, …; the study's, or val_loss, or val_accuracy")
    ] = None,
    margin: Annotated[
        float | None, typer.Option(help="share of the baseline within which arms are equivalent; 0.005, or the study's")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="also write everything to this file")] = None,
    csv_file: Annotated[Path | None, typer.Option("--csv", help="also write the ranking to this file")] = None,
) -> None:
    """Rank runs, whatever they were made for, with paired statistics wherever they share seeds.

    Runs of one design are one arm; no arm is judged by one seed.

    [bold]gatewright compare runs/llama runs/gpt2 --baseline runs/gpt2 --json compared.json[/bold]

    [bold]gatewright compare --latest 6[/bold]
    """
    from gatewright.study.compare import collect_runs, compare_runs, newest_runs
    from gatewright.study.ranking import ranking

    if folder is not None and latest is None:
        raise UserError("--in says where --latest looks; give --latest N with it")
    if runs and latest is not None:
        raise UserError("--latest takes the newest runs below --in; leave it out to compare the runs that are named")
    if not runs and latest is None:
        raise UserError("name the runs to compare, or give --latest N")
    chosen = collect_runs(runs) if runs else newest_runs(folder or Path("runs"), latest or 0)
    compared = compare_runs(chosen, baseline=baseline, metric=metric, margin=margin)
    compared.write(json_file, csv_file)
    console.print(ranking(compared, console.width), highlight=False)
