"""Verbs for studies: study run, plan, status, report; and report for any of their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gatewright.cli.app import FAILURE, StudyFile, StudyFolder, app, console, study_app

StudyOverrides = Annotated[
    list[str] | None,
    typer.Argument(help="overrides of every arm, such as train.max_steps=100", metavar="KEY=VALUE"),
]
StudyOut = Annotated[Path | None, typer.Option("--out", help="folder of the study; runs/<name> if left out")]
Workers = Annotated[int | None, typer.Option(help="trials at a time")]
Budget = Annotated[
    str | None, typer.Option(help="time to fit the study into, such as 60m or 2h30m: steps are cut first, then seeds")
]
Measured = Annotated[
    bool, typer.Option("--measure/--no-measure", help="run a few steps of each design to estimate the time")
]


@app.command()
def report(path: StudyFolder) -> None:
    """Analyse a study's runs again and write its report.

    [bold]gatewright report runs/demo[/bold]
    """
    from gatewright.study import write_report

    console.print(f"report: {write_report(path)}", highlight=False, soft_wrap=True, markup=False)


@study_app.command("run")
def study_run(
    file: StudyFile,
    overrides: StudyOverrides = None,
    out: StudyOut = None,
    workers: Workers = None,
    budget: Budget = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print the plan and stop")] = False,
    measured: Measured = True,
    launcher: Annotated[
        Literal["local", "ray", "slurm"],
        typer.Option(help="where trials run: processes on this machine, a Ray cluster, jobs of SLURM"),
    ] = "local",
    address: Annotated[str | None, typer.Option(help="of the Ray cluster, such as auto or 10.0.0.1:6379")] = None,
    resources: Annotated[
        str | None,
        typer.Option(
            help="what each trial gets, such as cpus=4,gpus=1,memory=16GB; for slurm also time=2h, partition=short",
            metavar="KEY=VALUE,…",
        ),
    ] = None,
    retries: Annotated[
        int, typer.Option(min=0, help="times a killed, lost or pre-empted trial is started again without progress")
    ] = 3,
    stall_timeout: Annotated[
        str, typer.Option(help="time without a word after which a trial counts as hanging, or off")
    ] = "2h",
) -> None:
    """Run a study's trials, each in a process of its own, and write its report. Run again to continue.

    [bold]gatewright study run studies/demo.yaml --workers 2[/bold]

    [bold]gatewright study run studies/alpha.yaml scale=laptop --budget 30m[/bold]

    [bold]gatewright study run studies/alpha.yaml --launcher slurm --resources cpus=8,gpus=1,time=4h[/bold]
    """
    from gatewright.study import load_study, run_study
    from gatewright.study.launch import create_launcher
    from gatewright.study.launch.resources import parse_resources

    given = None if resources is None else parse_resources(resources)
    patience = None if stall_timeout == "off" else _seconds(stall_timeout, "stall-timeout")
    place = create_launcher(launcher, given, address)
    study = load_study(file, overrides or [])
    seconds = None if budget is None else _seconds(budget)
    analysis = run_study(
        study, out, workers, dry_run, seconds, measured, launcher=place, retries=retries, stall_timeout=patience
    )
    if analysis is not None and analysis.failed:
        raise typer.Exit(FAILURE)


@study_app.command("plan")
def study_plan(
    file: StudyFile,
    overrides: StudyOverrides = None,
    out: StudyOut = None,
    workers: Workers = None,
    budget: Budget = None,
    measured: Measured = True,
) -> None:
    """Show what a study would run: trials, parameters, FLOPs, tokens, time, and what it could show.

    [bold]gatewright study plan studies/demo.yaml[/bold]
    """
    study_run(file, overrides, out, workers, budget, dry_run=True, measured=measured)


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


def _seconds(text: str, what: str = "budget") -> float:
    from gatewright.study.budget import parse_duration

    return parse_duration(text, what)
