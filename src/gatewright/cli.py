"""The command line: verbs only. Arguments in, one call out."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console

from gatewright.errors import RunError, UserError

USER_MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train competing designs of gated language models under equal conditions, and say which is better.\n\n"
    "Overrides are written as in Hydra: [bold]model=llama model.position=alibi train.max_steps=200[/bold].",
)
study_app = typer.Typer(no_args_is_help=True, help="Plan, run and read studies: arms x seeds, with a verdict.")
app.add_typer(study_app, name="study")
console = Console()

Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="presets (model=llama, data=sotu) and overrides (train.max_steps=200)", metavar="KEY=VALUE"),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="start from this file, such as the config.yaml of a run")
]
RunFolder = Annotated[Path, typer.Argument(help="a run directory", metavar="RUN", show_default=False)]
StudyFolder = Annotated[Path, typer.Argument(help="the folder of a study", metavar="DIR", show_default=False)]
StudyFile = Annotated[Path, typer.Argument(help="a study file (YAML)", metavar="FILE", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="machine-readable output")]
Which = Annotated[Literal["best", "last"], typer.Option("--checkpoint", help="lowest validation loss, or newest")]


@app.command()
def train(overrides: Overrides = None, config: ConfigFile = None) -> None:
    """Train one model and leave a run directory.

    [bold]gatewright train model=llama model.position=alibi data=sotu train.max_steps=200 train.seed=1 out=runs/x[/bold]

    Continue it with the same command and [bold]resume=auto[/bold]; repeat it with [bold]--config runs/x/config.yaml
    out=runs/y[/bold].
    """
    from gatewright.config import load_config
    from gatewright.training import train

    run = train(load_config(overrides or [], config))
    if run.status == "interrupted":
        raise typer.Exit(INTERRUPTED)


@app.command("eval")
def evaluate(
    run: RunFolder,
    checkpoint: Which = "best",
    tokens: Annotated[
        int | None, typer.Option(min=1, help="validation tokens to score; as in training if left out")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score a trained run on its validation text: loss, perplexity per token, word and byte, token accuracy.

    [bold]gatewright eval runs/x --checkpoint last --tokens 200000[/bold]
    """
    from gatewright.evaluate.run import evaluate_run
    from gatewright.run import Run

    _print_mapping(asdict(evaluate_run(Run(run), which=checkpoint, tokens=tokens)), as_json)


@app.command()
def generate(
    run: RunFolder,
    prompt: Annotated[list[str], typer.Option(help="text to continue; may be given several times")],
    max_new_tokens: Annotated[int, typer.Option(help="longest continuation, in tokens")] = 64,
    temperature: Annotated[float, typer.Option(help="0 is greedy")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="draw from the k likeliest tokens")] = None,
    top_p: Annotated[float | None, typer.Option(help="draw from the fewest tokens that hold this probability")] = None,
    seed: Annotated[int, typer.Option(help="of the random draws")] = 0,
    cache: Annotated[bool, typer.Option(help="keep keys and values of past tokens")] = True,
    checkpoint: Which = "best",
    as_json: AsJson = False,
) -> None:
    """Let a trained run continue a text.

    [bold]gatewright generate runs/x --prompt "The state of the Union is" --temperature 0.8 --top-p 0.95[/bold]
    """
    from gatewright.model.generate import generate
    from gatewright.model.sampling import Sampler
    from gatewright.run import Run

    source = Run(run)
    tokenizer = source.tokenizer
    sampler = Sampler(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    continuations = generate(
        source.model(checkpoint),
        [tokenizer.encode(text) for text in prompt],
        max_new_tokens=max_new_tokens,
        sampler=sampler,
        end_id=tokenizer.eot_id,
        use_cache=cache,
    )
    texts = [tokenizer.decode(tokens) for tokens in continuations]
    if as_json:
        print(json.dumps([{"prompt": p, "continuation": t} for p, t in zip(prompt, texts, strict=True)], indent=2))
        return
    for text, continuation in zip(prompt, texts, strict=True):
        console.print(f"[bold]{_plain(text)}[/bold]{_plain(continuation)}\n", highlight=False)


@app.command()
def report(path: StudyFolder) -> None:
    """Analyse a study's runs again and write its report.

    [bold]gatewright report runs/demo[/bold]
    """
    from gatewright.study import write_report

    console.print(f"report: {write_report(path)}", highlight=False, soft_wrap=True)


@app.command()
def parts(
    kind: Annotated[str | None, typer.Argument(help="norm, activation, position, attention, feedforward, …")] = None,
    as_json: AsJson = False,
) -> None:
    """List the parts a model can be made of, with their knobs.

    [bold]gatewright parts position[/bold]
    """
    from gatewright.catalogue import catalogue

    found = catalogue([kind] if kind else None)
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for name, entries in found.items():
        table = _table(name, "name", "what it is", "knobs")
        for entry in entries:
            knobs = ", ".join(f"{knob}={default}" for knob, default in entry["knobs"].items())
            table.add_row(entry["name"], _plain(entry["summary"]), _plain(knobs))
        console.print(table)


@app.command()
def cost(overrides: Overrides = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Count a model's parameters, FLOPs and memory without building it in memory.

    [bold]gatewright cost model=gpt2 model.feedforward=paglu --json[/bold]
    """
    from gatewright.catalogue import describe_cost
    from gatewright.config import load_config

    _print_mapping(describe_cost(load_config(overrides or [], config)), as_json)


@app.command("config")
def show_config(overrides: Overrides = None, config: ConfigFile = None) -> None:
    """Print the configuration that presets and overrides give, as YAML.

    [bold]gatewright config model=llama model.n_layer=6 > my.yaml[/bold]
    """
    from gatewright.config import load_config, to_yaml

    print(to_yaml(load_config(overrides or [], config)), end="")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check what this machine can do: devices, precision, compiler, corpus, space.

    [bold]gatewright doctor[/bold]
    """
    from gatewright.hardware.doctor import report

    checks = report()
    if as_json:
        print(json.dumps([asdict(check) for check in checks], indent=2))
    else:
        table = _table("gatewright doctor", "", "check", "found", "what to do")
        marks = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}
        for check in checks:
            table.add_row(marks[check.status], check.name, _plain(check.found), _plain(check.advice))
        console.print(table)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(FAILURE)


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


def main() -> NoReturn:
    """Run the command line and exit: 0 success, 2 a user's mistake (one line), 1 a failure."""
    try:
        app()
    except UserError as error:
        _complain(error)
        sys.exit(USER_MISTAKE)
    except RunError as error:
        _complain(error)
        sys.exit(FAILURE)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _complain(error: Exception) -> None:
    print(f"gatewright: {' '.join(str(error).split())}", file=sys.stderr)


def _plain(text: str) -> str:
    """Text with nothing that rich would read as markup."""
    from rich.markup import escape

    return escape(text)


def _table(title: str, *columns: str) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _print_mapping(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(values, indent=2))
        return
    table = _table("", "", "")
    table.show_header = False
    for key, value in values.items():
        if isinstance(value, dict):
            for inner, number in value.items():
                table.add_row(f"{key}.{inner}", _number(number))
        else:
            table.add_row(key, _number(value))
    console.print(table)


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_number(inner)}" for key, inner in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else _plain(str(value))
