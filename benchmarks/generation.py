"""Generation beside Hugging Face's GPT-2: the same sizes, random weights, greedy, in turns in one process.

    python benchmarks/generation.py

Hugging Face is tried in float32 and in bf16 first and goes on in the faster; Gatewright decides for itself, as
`gatewright generate` does. Sequences do not end by themselves, so that all do the same work.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from transformers import GPT2Config, GPT2LMHeadModel
from turns import SHAPES, Shape, spread

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
    size = SHAPES[shape]
    length = max(size.block_size, PROMPT + tokens)
    prompts = torch.randint(size.vocab_size, (rows, PROMPT), generator=torch.Generator().manual_seed(0))
    calls: dict[str, Callable[[], object]] = {"gatewright": ours(size, length, prompts, tokens)}
    theirs = {name: huggingface(size, length, prompts, tokens, name) for name in ("float32", "bf16")}
    best = min(theirs, key=lambda name: min(timed(theirs[name]) for _ in range(2)))
    calls[f"transformers, {best}"] = theirs[best]
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            taken = timed(call)
            if turn:  # the first warms up
                seconds[name].append(taken)
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


def ours(size: Shape, length: int, prompts: torch.Tensor, tokens: int) -> Callable[[], object]:
    """Our own model and generation."""
    options = [option for option in size.model_options if "block_size" not in option]
    model = gw.build(gw.load_config(["model=gpt2", *options, f"model.block_size={length}"]).model, seed=0)
    return lambda: gw.generate(model, prompts.tolist(), max_new_tokens=tokens, precision="auto")


def huggingface(size: Shape, length: int, prompts: torch.Tensor, tokens: int, precision: str) -> Callable[[], object]:
    """GPT-2 of transformers, and its ``generate``."""
    config = GPT2Config(vocab_size=size.vocab_size, n_positions=length, n_embd=size.n_embd, n_layer=size.n_layer,
                        n_head=size.n_head, bos_token_id=None, eos_token_id=None)  # fmt: skip
    model = GPT2LMHeadModel(config).eval().to(torch.bfloat16 if precision == "bf16" else torch.float32)
    mask = torch.ones_like(prompts)
    return lambda: model.generate(prompts, attention_mask=mask, max_new_tokens=tokens, do_sample=False, pad_token_id=0)


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


if __name__ == "__main__":
    typer.run(main)
