"""What the verbs share: the application, the console, arguments that mean the same everywhere, and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gatewright.terminal import Terminal

USER_MISTAKE, FAILURE, INTERRUPTED = 2, 1, 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
study_app = typer.Typer(no_args_is_help=True, help="Plan, run and read studies: arms x seeds, with a verdict.")
app.add_typer(study_app, name="study")
console = Terminal()


@app.callback()
def options(
    plugin: Annotated[
        list[Path] | None,
        typer.Option("--plugin", help="a file of parts that may run where something names it; see GATEWRIGHT_PLUGINS"),
    ] = None,
) -> None:
    """Train competing designs of gated language models under equal conditions, and say which is better.

    Overrides are written as in Hydra: [bold]model=llama model.position=alibi train.max_steps=200[/bold].
    """
    if plugin:
        from gatewright.plugins import name_plugins

        name_plugins(plugin)


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


def plain(text: str) -> str:
    """Text with nothing that rich would read as markup."""
    from rich.markup import escape

    return escape(text)


def table(title: str, *columns: str) -> Any:
    """An empty table in the house style; cells wrap instead of being cut."""
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_mapping(values: dict[str, Any], as_json: bool) -> None:
    """Print numbers by name, as JSON or as a table of two columns."""
    if as_json:
        print(json.dumps(values, indent=2))
        return
    listing = table("", "", "")
    listing.show_header = False
    for key, value in values.items():
        if isinstance(value, dict):
            for inner, number in value.items():
                listing.add_row(plain(f"{key}.{inner}"), number_text(number))
        else:
            listing.add_row(plain(key), number_text(value))
    console.print(listing)


def number_text(value: Any) -> str:
    """A number with separators, or whatever else as text."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {number_text(inner)}" for key, inner in value.items())
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4f}" if isinstance(value, float) else plain(str(value))
