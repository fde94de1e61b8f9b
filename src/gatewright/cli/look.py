"""Verbs that look at what there is: parts, cost, config, doctor."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from gatewright.cli.app import FAILURE, AsJson, ConfigFile, Overrides, app, console, plain, print_mapping, table


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
        listing = table(name, "name", "what it is", "knobs")
        for entry in entries:
            knobs = ", ".join(f"{knob}={default}" for knob, default in entry["knobs"].items())
            listing.add_row(entry["name"], plain(entry["summary"]), plain(knobs))
        console.print(listing)


@app.command()
def cost(overrides: Overrides = None, config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Count a model's parameters, FLOPs and memory without building it in memory.

    [bold]gatewright cost model=gpt2 model.feedforward=paglu --json[/bold]
    """
    from gatewright.catalogue import describe_cost
    from gatewright.config import load_config

    print_mapping(describe_cost(load_config(overrides or [], config)), as_json)


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
        listing = table("gatewright doctor", "", "check", "found", "what to do")
        marks = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "fail": "[red]✗[/red]"}
        for check in checks:
            listing.add_row(marks[check.status], check.name, plain(check.found), plain(check.advice))
        console.print(listing)
    if any(check.status == "fail" for check in checks):
        raise typer.Exit(FAILURE)
