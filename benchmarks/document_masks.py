"""What it costs a training step to keep documents apart (``data.document_masking``), beside the step without.

    OMP_NUM_THREADS=1 python benchmarks/document_masks.py --block-size 128 --block-size 512 --compiled

The two take turns on the same tokens, which have a boundary every ``--document`` tokens on average; what counts is the
ratio of each turn to the one beside it, in CPU time, so that a busy machine disturbs it little. A batch whose rows lie
within one document each costs nothing more: it takes the same kernel as without.
"""

from __future__ import annotations

import statistics
import time
from typing import Annotated, Literal

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import gatewright as gw
from gatewright.data.documents import apart

CPU = torch.device("cpu")
SEPARATOR = 0


def main(
    block_size: Annotated[list[int] | None, typer.Option(help="T")] = None,
    attention: Annotated[Literal["sdpa", "manual"], typer.Option(help="model.attention")] = "sdpa",
    document: Annotated[int, typer.Option(min=1, help="tokens of a document, on average")] = 100,
    compiled: Annotated[bool, typer.Option(help="torch.compile the model")] = False,
    turns: Annotated[int, typer.Option(min=2, help="turns of each")] = 15,
) -> None:
    """Print milliseconds of CPU a step for both, and the ratio."""
    title = f"{attention}, {'compiled' if compiled else 'eager'}, a boundary every {document} tokens"
    columns = ("T", "across, CPU ms", "apart, CPU ms", "ratio (median)", "min", "max")
    table = Table(*columns, title=title, title_justify="left")
    for length in block_size or [128, 512]:
        sizes = ["model.n_layer=4", "model.n_head=4", "model.n_embd=128", "model.vocab_size=1024"]
        overrides = ["model=llama", *sizes, f"model.block_size={length}", f"model.attention={attention}"]
        model: nn.Module = gw.build(gw.load_config(overrides).model).train()
        model = torch.compile(model, dynamic=False) if compiled else model
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(1, 1024, (2048 // length, length), generator=generator)
        ids[torch.rand(ids.shape, generator=generator) < 1 / document] = SEPARATOR
        given = {"across": {}, "apart": apart(ids, SEPARATOR, CPU)}
        seconds: dict[str, list[float]] = {name: [] for name in given}
        for turn in range(turns + 1):
            for name, documents in given.items():
                begin = time.process_time()
                step(model, ids, documents)
                if turn:  # the first compiles and warms up
                    seconds[name].append(time.process_time() - begin)
        ratios = [mine / theirs for mine, theirs in zip(seconds["apart"], seconds["across"], strict=True)]
        medians = [f"{1e3 * statistics.median(values):.1f}" for values in seconds.values()]
        table.add_row(
            f"{length}", *medians, *(f"{r:.2f}" for r in (statistics.median(ratios), min(ratios), max(ratios)))
        )
    Console().print(table)


def step(model: nn.Module, ids: Tensor, documents: dict[str, Tensor]) -> None:
    """One forward and backward pass over ``ids`` ``(B, T)``."""
    model(ids, labels=ids, **documents).loss.backward()
    model.zero_grad()


if __name__ == "__main__":
    typer.run(main)
