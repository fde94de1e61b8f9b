"""What each similarity costs at one step of a rollout, beside the way one would first write it.

    OMP_NUM_THREADS=1 python benchmarks/similarities.py

All take turns on the same distributions, so that a machine that slows down slows all; what counts are the ratios within
a turn: to the naive version of the same, and to cosine. Before that, both versions must agree.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from turns import timed_turns

import gatewright as gw
from gatewright.registry import list_parts


def naive_cosine(log_p: Tensor) -> Tensor:
    """Normalised first."""
    p = F.normalize(log_p.exp(), dim=-1)
    return p @ p.mT


def naive_jsd(log_p: Tensor) -> Tensor:
    """Two divergences for every pair."""
    p = log_p.exp()
    rows = []
    for i in range(p.shape[-2]):
        mean = 0.5 * (p[:, i : i + 1] + p)
        log_mean = mean.log()
        own = F.kl_div(log_mean, p[:, i : i + 1].expand_as(mean), reduction="none").sum(-1)
        other = F.kl_div(log_mean, p, reduction="none").sum(-1)
        rows.append(1 - (0.5 * (own + other) / torch.log(torch.tensor(2.0))).clamp(min=0).sqrt())
    return torch.stack(rows, dim=-2)


def naive_bhattacharyya(log_p: Tensor) -> Tensor:
    """The root of every product."""
    p = log_p.exp()
    return (p[:, :, None] * p[:, None]).sqrt().sum(-1)


NAIVE: dict[str, Callable[[Tensor], Tensor]] = {
    "cosine": naive_cosine,
    "jsd": naive_jsd,
    "bhattacharyya": naive_bhattacharyya,
}


@torch.no_grad()
def main(
    paths: Annotated[int, typer.Option(min=2, help="N")] = 8,
    vocabulary: Annotated[int, typer.Option(min=2, help="V")] = 151_936,
    width: Annotated[int, typer.Option(min=1, help="D, for similarities on embeddings")] = 1536,
    questions: Annotated[int, typer.Option(min=1, help="B")] = 1,
    turns: Annotated[int, typer.Option(min=2, help="turns of each")] = 15,
) -> None:
    """Print milliseconds a call for every similarity, and the ratios."""
    generator = torch.Generator().manual_seed(0)
    log_p = (3 * torch.randn(questions, paths, vocabulary, generator=generator)).log_softmax(-1)
    table = torch.randn(width, vocabulary, generator=generator).mT  # as the gate of a rollout has it
    keys = torch.arange(questions * paths).reshape(questions, paths)
    calls: dict[str, Callable[[], Tensor]] = {}
    for name in list_parts("similarity"):
        gate = gw.make_similarity(name, n_embd=width)
        calls[name] = lambda gate=gate: gate.similarity(log_p, table=table, keys=keys)
        if name in NAIVE:
            calls[f"{name}, naive"] = lambda f=NAIVE[name]: f(log_p)
            torch.testing.assert_close(calls[name](), calls[f"{name}, naive"](), atol=2e-3, rtol=0)
    seconds = timed_turns(calls, turns)
    threads = torch.get_num_threads()
    title = f"B = {questions}, N = {paths}, V = {vocabulary:,}, D = {width}, {threads} thread{'s' * (threads > 1)}"
    listing = Table("", "ms (median)", "min", "× cosine", "naive ×", title=title, title_justify="left")
    for name, values in seconds.items():
        if name.endswith(", naive"):
            continue
        naive = seconds.get(f"{name}, naive")
        listing.add_row(
            name,
            f"{1e3 * statistics.median(values):.2f}",
            f"{1e3 * min(values):.2f}",
            ratio(values, seconds["cosine"]),
            ratio(naive, values) if naive else "",
        )
    Console().print(listing)


def ratio(these: list[float], those: list[float]) -> str:
    """The median of the ratios turn by turn."""
    return f"{statistics.median(a / b for a, b in zip(these, those, strict=True)):.2f}"


if __name__ == "__main__":
    typer.run(main)
