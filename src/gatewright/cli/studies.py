"""Verbs for studies: study run, plan, status, report; and report for any of their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli.app import FAILURE, StudyFile, StudyFolder, app, console, study_app


@app.command()
def report(path: StudyFolder) -> None:
    """Analyse a study's runs again and write its report.

    [bold]gatewright report runs/demo[/bold]
    """
    from gatewright.study import write_report

    console.print(f"report: {write_report(path)}", highlight=False, soft_wrap=True)


@study_app.command("run")
def study_run(
    file: StudyFile,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="overrides of every arm, such as train.max_steps=100", metavar="KEY=VALUE"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder of the study; runs/<name> if left out")] = None,
    workers: Annotated[int | None, typer.Option(help="trials at a time")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and stop")] = False,
) -> None:
    """Run a study's trials, each in a process of its own, and write its report. Run again to continue.

    [bold]gatewright study run studies/demo.yaml --workers 2[/bold]
    """
    from gatewright.study import load_study, run_study

    analysis = run_study(load_study(file, overrides or []), out=out, workers=workers, dry_run=dry_run)
    if analysis is not None and analysis.failed:
        raise typer.Exit(FAILURE)


@study_app.command("plan")
def study_plan(file: StudyFile) -> None:
    """Show what a study would run: trials, parameters, FLOPs, tokens.

    [bold]gatewright study plan studies/demo.yaml[/bold]
    """
    from gatewright.study import describe_plan, load_study

    console.print(describe_plan(load_study(file)))


@study_app.command("status")
def study_status(path: StudyFolder) -> None:
    """Show how far a study's trials are.

    [bold]gatewright study status runs/demo[/bold]
    """
    from gatewright.study import status

    console.print(status(path))


@study_app.command("report")
def study_report(path: StudyFolder) -> None:
    """Analyse a study's runs again and write its report.

    [bold]gatewright study report runs/demo[/bold]
    """
    report(path)
