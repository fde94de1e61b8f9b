"""Verbs that hand a trained run to the rest of the world: export hf."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli.app import RunFolder, Which, app, console

export_app = typer.Typer(no_args_is_help=True, help="Write a trained run for other programs.")
app.add_typer(export_app, name="export")


@export_app.command("hf")
def export_hf(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(help="the folder to write", metavar="OUT", show_default=False)],
    checkpoint: Which = "best",
    native: Annotated[
        bool, typer.Option("--native", help="as transformers' own GPT-2, LLaMA or Qwen3, for use without Gatewright")
    ] = False,
) -> None:
    """Write a run as a Hugging Face folder: configuration, weights, tokenizer, generation settings, model card.

    [bold]gatewright export hf runs/x exported/x[/bold]

    [bold]gatewright export hf runs/llama exported/llama --native --checkpoint last[/bold]
    """
    from gatewright.data.extras import import_extra

    import_extra("transformers", "hf", "gatewright export hf").logging.disable_progress_bar()
    from gatewright.hf import save

    written = save(run, out, native=native, checkpoint=checkpoint)
    console.print(f"wrote {written}", highlight=False, markup=False, soft_wrap=True)
