"""The verb for text alone: prepare."""

from __future__ import annotations

from typing import Annotated

import typer

from gatewright.cli.app import AsJson, ConfigFile, Overrides, app, console, print_mapping


@app.command()
def prepare(
    overrides: Overrides = None,
    config: ConfigFile = None,
    verify: Annotated[bool, typer.Option("--verify", help="read all prepared tokens; make damaged ones again")] = False,
    as_json: AsJson = False,
) -> None:
    """Tokenize a corpus before anything is trained on it; if that is interrupted, the same command goes on.

    [bold]gatewright prepare data=files data.path=letters data.tokenizer=bpe-4096 data.processes=8[/bold]
    """
    from gatewright.config import load_config
    from gatewright.data import Mixture
    from gatewright.data import prepare as prepare_data
    from gatewright.errors import UserError

    asked = load_config(overrides or [], config)
    if asked.task is not None:
        raise UserError("task=: questions are made when they are needed; only a text is prepared")
    data = prepare_data(asked.data, progress=console.is_terminal, verify=verify)
    parts = data.parts if isinstance(data, Mixture) else {"": data}
    folders = {f"folder {name}".strip(): str(part.folder) for name, part in parts.items()}
    print_mapping({**folders, **data.describe()}, as_json)
