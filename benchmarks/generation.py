"""Generation beside Hugging Face's GPT-2: the same sizes, random weights, greedy, in turns in one process.

    python benchmarks/generation.py

Hugging Face is tried in float32 and in bf16 first and goes on in the faster; Gatewright decides for itself, as
`gatewright generate` does. Sequences do not end by themselves, so that all do the same work.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel
from turns import SHAPES, Shape, spread, timed, timed_turns

import gatewright as gw
from gatewright.files import write_atomic

PROMPT = 16


def main(
    rows: Annotated[int, typer.Option(min=1, help="sequences at a time")] = 8,
    tokens: Annotated[int, typer.Option(min=2, help="new tokens of each")] = 128,
    turns: Annotated[int, typer.Option(min=1, help="turns of each")] = 5,
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "gpt2",
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print tokens a second, and the ratios turn by turn."""
    size = replace(SHAPES[shape], block_size=max(SHAPES[shape].block_size, PROMPT + tokens))
    prompts = torch.randint(size.vocab_size, (rows, PROMPT), generator=torch.Generator().manual_seed(0))
    calls: dict[str, Callable[[], object]] = {"gatewright": ours(size, prompts, tokens)}
    theirs = {name: huggingface(size, prompts, tokens, name) for name in ("float32", "bf16")}
    best = min(theirs, key=lambda name: min(timed(theirs[name]) for _ in range(2)))
    calls[f"transformers, {best}"] = theirs[best]
    seconds = timed_turns(calls, turns)
    first = seconds["gatewright"]
    found = [
        {
            "name": name,
            "tokens_per_second": spread([rows * tokens / each for each in values]),
            "first_over_it": spread([each / mine for mine, each in zip(first, values, strict=True)]),
        }
        for name, values in seconds.items()
    ]
    table = Table("", "tokens/s", "Gatewright is", title=f"{rows} × {tokens} tokens, {shape}, {turns} turns")
    for row in found:
        ratio, low, high = row["first_over_it"]
        table.add_row(row["name"], f"{row['tokens_per_second'][0]:.0f}", f"{ratio:.2f} ({low:.2f} to {high:.2f}) ×")
    Console().print(table)
    if out is not None:
        facts = {"shape": shape, "sequences": rows, "tokens": tokens, "turns": turns, "machine": describe_machine()}
        write_atomic(out, json.dumps({**facts, "rows": found}, indent=1) + "\n")


def ours(size: Shape, prompts: torch.Tensor, tokens: int) -> Callable[[], object]:
    """Our own model and generation."""
    model = gw.build(gw.load_config(["model=gpt2", *size.model_options]).model, seed=0)
    return lambda: gw.generate(model, prompts.tolist(), max_new_tokens=tokens, precision="auto")


def huggingface(size: Shape, prompts: torch.Tensor, tokens: int, precision: str) -> Callable[[], object]:
    """GPT-2 of transformers, and its ``generate``."""
    sizes = {key: getattr(size, key) for key in ("vocab_size", "n_embd", "n_layer", "n_head")}
    config = GPT2Config(**sizes, n_positions=size.block_size, bos_token_id=None, eos_token_id=None)
    model = GPT2LMHeadModel(config).eval().to(torch.bfloat16 if precision == "bf16" else torch.float32)
    mask = torch.ones_like(prompts)
    return lambda: model.generate(prompts, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0)


if __name__ == "__main__":
    typer.run(main)
