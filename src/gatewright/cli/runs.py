"""Verbs for one run: train, generate."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from gatewright.cli.app import (
    INTERRUPTED,
    AsJson,
    ConfigFile,
    Overrides,
    RunFolder,
    Which,
    app,
    console,
    plain,
)


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
    precision: Annotated[
        Literal["auto", "float32", "bf16"],
        typer.Option(help="of products; auto: bf16 for a large model where it is native"),
    ] = "auto",
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
        precision=precision,
    )
    texts = [tokenizer.decode(tokens) for tokens in continuations]
    if as_json:
        print(json.dumps([{"prompt": p, "continuation": t} for p, t in zip(prompt, texts, strict=True)], indent=2))
        return
    for text, continuation in zip(prompt, texts, strict=True):
        console.print(f"[bold]{plain(text)}[/bold]{plain(continuation)}\n", highlight=False)
