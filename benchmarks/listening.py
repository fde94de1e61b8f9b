"""What listening costs while paths are generated: the same rollout with each gate, and with none, in turns.

    OMP_NUM_THREADS=2 python benchmarks/listening.py

The model has the dimensions of SmolLM2-135M and random weights, the vocabulary its 49,152 tokens. A path never ends, so
that every rollout does the same work.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from transformers import LlamaConfig, LlamaForCausalLM
from turns import spread, timed_turns

import gatewright as gw
from gatewright.files import write_atomic

GATES = ("none", "peer_mean", "random_peer", "cosine", "raw_dot", "scaled_dot", "jsd", "bhattacharyya")
SMOLLM2 = {
    "vocab_size": 49_152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip
TINY = {**SMOLLM2, "vocab_size": 64, "hidden_size": 18, "intermediate_size": 8, "num_hidden_layers": 1}


def main(
    paths: Annotated[int, typer.Option(min=2, help="N")] = 8,
    tokens: Annotated[int, typer.Option(min=2, help="new tokens of a path")] = 32,
    turns: Annotated[int, typer.Option(min=1, help="turns of each")] = 7,
    toy: Annotated[bool, typer.Option(help="a model of no size")] = False,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print milliseconds a token for every gate, and the ratio to none."""
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**(TINY if toy else SMOLLM2))).eval()
    prompt = list(range(1, 17))
    options = {"paths": paths, "max_new_tokens": tokens, "end_ids": []}
    rollouts = {name: partial(gw.paths.generate, model, None, [prompt], similarity=name, **options) for name in GATES}
    seconds = timed_turns(rollouts, turns)
    rows = [
        {
            "name": name,
            "milliseconds_per_step": [1e3 * each / tokens for each in spread(values)],
            "times_none": spread([mine / plain for mine, plain in zip(values, seconds["none"], strict=True)]),
        }
        for name, values in seconds.items()
    ]
    table = Table("", "ms a step", "× none", title=f"N = {paths}, {tokens} tokens, {turns} turns")
    for row in rows:
        ratio, low, high = row["times_none"]
        table.add_row(row["name"], f"{row['milliseconds_per_step'][0]:.1f}", f"{ratio:.3f} ({low:.3f} to {high:.3f})")
    Console().print(table)
    if out is not None:
        found = {"paths": paths, "tokens": tokens, "turns": turns, "machine": describe_machine(), "rows": rows}
        write_atomic(out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
