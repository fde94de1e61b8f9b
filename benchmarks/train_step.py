"""Training speed beside Hugging Face's GPT-2: the same weights, the same batches, in one interleaved run.

    python benchmarks/train_step.py --shape small --precision bf16 --compiled

The two take turns for a few steps each, so that a machine that slows down slows both; what counts is the ratio of each
turn to the one beside it, and its median. The loss of the first step is compared, so that both do the same work.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import gatewright as gw
from gatewright.hf.families import to_native


@dataclass(frozen=True)
class Shape:
    """Dimensions of a model and its batch."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    batch_size: int


SHAPES = {
    "small": Shape(4, 4, 128, 64, 65, 12),
    "mid": Shape(6, 6, 384, 256, 50_257, 8),
    "gpt2": Shape(12, 12, 768, 512, 50_257, 4),
}


class Contender:
    """A model with its optimizer; `step` trains on one batch and returns the loss."""

    def __init__(
        self, model: nn.Module, loss: Callable[[nn.Module, Tensor], Tensor], low: bool, compiled: bool
    ) -> None:
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, fused=True)
        self.model = torch.compile(model) if compiled else model
        self.loss, self.low = loss, low

    def step(self, ids: Tensor) -> float:
        """One update on ``ids`` ``(B, T)``."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.low):
            loss = self.loss(self.model, ids)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def main(
    shape: Annotated[Literal["small", "mid", "gpt2"], typer.Option(help="dimensions")] = "small",
    precision: Annotated[Literal["float32", "bf16"], typer.Option(help="of both")] = "float32",
    compiled: Annotated[bool, typer.Option(help="torch.compile both")] = False,
    turns: Annotated[int, typer.Option(min=2, help="turns of each")] = 9,
    steps: Annotated[int, typer.Option(min=1, help="steps in a turn")] = 5,
) -> None:
    """Print tokens per second of both and the ratio, turn by turn."""
    size = SHAPES[shape]
    model, peer = build_pair(size)
    low = precision == "bf16"
    contenders = {
        "gatewright": Contender(model, lambda m, ids: m(ids, labels=ids).loss, low, compiled),
        "transformers": Contender(peer, lambda m, ids: m(ids, labels=ids).loss, low, compiled),
    }
    ids = torch.randint(size.vocab_size, (size.batch_size, size.block_size), generator=torch.Generator().manual_seed(0))
    first = {name: contender.step(ids) for name, contender in contenders.items()}  # compiles, warms caches
    ours, theirs = first.values()
    if not math.isclose(ours, theirs, rel_tol=5e-3 if low else 1e-4):
        raise SystemExit(f"the two do not do the same work: first losses {first}")
    speeds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(turns):
        for name, contender in contenders.items():
            begin = time.perf_counter()
            for _ in range(steps):
                contender.step(ids)
            speeds[name].append(steps * ids.numel() / (time.perf_counter() - begin))
    show(f"{shape}, {precision}, {'compiled' if compiled else 'eager'}, {torch.get_num_threads()} threads", speeds)


def build_pair(size: Shape) -> tuple[nn.Module, nn.Module]:
    """Our GPT-2 and Hugging Face's, with the same weights."""
    keys = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
    config = gw.load_config(["model=gpt2", *(f"model.{key}={getattr(size, key)}" for key in keys)])
    model = gw.build(config.model)
    no_dropout = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    dimensions = {key: getattr(size, key) for key in ("n_layer", "n_head", "n_embd", "vocab_size")}
    peer = GPT2LMHeadModel(GPT2Config(**dimensions, **no_dropout, n_positions=size.block_size))
    peer.load_state_dict(to_native(model.state_dict(), "gpt2"), strict=False)
    peer.tie_weights()
    return model.train(), peer.train()


def show(title: str, speeds: dict[str, list[float]]) -> None:
    """Medians of both, and the ratio of each turn to its neighbour."""
    table = Table("", "tokens/s (median)", "min", "max", title=title, title_justify="left")
    for name, values in speeds.items():
        table.add_row(name, *(f"{v:,.0f}" for v in (statistics.median(values), min(values), max(values))))
    ratios = [a / b for a, b in zip(*speeds.values(), strict=True)]
    table.add_row("ratio", *(f"{r:.2f}" for r in (statistics.median(ratios), min(ratios), max(ratios))), style="bold")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
