"""How cost grows when one dimension is doubled, and doubled again: of a training step, and of a gate between paths.

    python benchmarks/scale.py --plot docs/images/scale.png

Beside each measured multiple stands that of the arithmetic: of a step's FLOPs, of the pairs of paths times the
vocabulary. All sizes take turns, and what counts is the median of the ratios within a round.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import matplotlib.ticker
import torch
import typer
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from turns import SHAPES, Contender, Shape, interval, letters, spread, take_turns, timed_turns

import gatewright as gw
from gatewright.files import write_atomic
from gatewright.study.style import ARM_COLOURS, MUTED, WIDE, house_style, new_figure, png, settle

DIMENSIONS = {
    "n_layer": "layers",
    "block_size": "tokens of a sequence, T",
    "n_embd": "width, D",
    "vocab_size": "vocabulary, V",
    "batch_size": "sequences of a step, B",
}
GATES = ("cosine", "jsd")
PATHS, VOCABULARY = 8, 32_768
FACTORS = (1, 2, 4)
console = Console()


@dataclass(frozen=True)
class Row:
    """One dimension at one multiple of what it is."""

    name: str
    factor: int
    seconds: list[float]
    """Of a step or a call: median, least and most."""
    times_the_seconds: list[float]
    """As a multiple of what it takes with nothing doubled: median and its bootstrap interval."""
    times_the_arithmetic: float


def main(
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "even",
    dimensions: Annotated[str, typer.Option(help="those of a training step, comma-separated")] = ",".join(DIMENSIONS),
    rounds: Annotated[int, typer.Option(min=2, help="turns of each")] = 15,
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
    plot: Annotated[Path | None, typer.Option(help="also draw them, as PNG")] = None,
) -> None:
    """Print seconds and their multiples, beside those of the arithmetic."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    chosen = dimensions.split(",")
    if unknown := sorted(set(chosen) - set(DIMENSIONS)):
        raise typer.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(DIMENSIONS)}")
    size = SHAPES[shape]
    rows = [*training(size, chosen, rounds), *gates(rounds)]
    found = {"shape": shape, **asdict(size), "paths": PATHS, "vocabulary": VOCABULARY, "rounds": rounds,
             "machine": describe_machine(), "rows": [asdict(row) for row in rows]}  # fmt: skip
    table = Table("", "×", "ms", "× ms", "× arithmetic", title=f"{shape}: median (95 % interval) of {rounds} rounds")
    for row in rows:
        median, least, most = row.times_the_seconds
        table.add_row(
            row.name,
            str(row.factor),
            f"{1e3 * row.seconds[0]:,.2f}",
            f"{median:.2f} ({least:.2f} to {most:.2f})",
            f"{row.times_the_arithmetic:.2f}",
        )
    console.print(table)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")
    if plot is not None:
        write_atomic(plot, draw(rows))


def training(size: Shape, dimensions: Sequence[str], rounds: int) -> list[Row]:
    """Steps of `gatewright train`, compiled, with one dimension after the other enlarged."""
    shapes = {(name, by): replace(size, **{name: by * getattr(size, name)}) for name in dimensions for by in FACTORS}
    distinct = dict.fromkeys(shapes.values())  # that in which nothing is enlarged stands for every dimension
    with letters() as text:
        runs = take_turns([Contender("gatewright", each) for each in distinct], text, rounds)
    seconds = {run.contender.shape: [its / size.steps for its in run.seconds] for run in runs}
    return [
        row(DIMENSIONS[name], by, seconds[each], seconds[size], flops(each) / flops(size))
        for (name, by), each in shapes.items()
    ]


def flops(shape: Shape) -> float:
    """FLOPs of a training step."""
    return gw.cost(gw.load_config(["model=gpt2", *shape.model_options]).model).flops_per_token * shape.tokens


@torch.no_grad()
def gates(rounds: int) -> Iterator[Row]:
    """Calls of gates on one question's distributions, in this process."""
    generator = torch.Generator().manual_seed(0)
    for gate in GATES:
        for name, grown in (("paths, N", (1, 0)), ("vocabulary, V", (0, 1))):
            calls: dict[str, Callable[[], object]] = {}
            pairs = {}
            for by in FACTORS:
                paths, vocabulary = PATHS * by ** grown[0], VOCABULARY * by ** grown[1]
                log_p = (3 * torch.randn(1, paths, vocabulary, generator=generator)).log_softmax(-1)
                calls[str(by)] = partial(gw.make_similarity(gate).similarity, log_p)
                pairs[by] = paths * (paths - 1) * vocabulary
            seconds = timed_turns(calls, rounds)
            for by, size in pairs.items():
                yield row(f"{gate}: {name}", by, seconds[str(by)], seconds["1"], size / pairs[1])


def row(name: str, factor: int, seconds: list[float], plain: list[float], arithmetic: float) -> Row:
    """A row, its ratios taken round by round."""
    ratios = [mine / its for mine, its in zip(seconds, plain, strict=True)]
    return Row(name, factor, spread(seconds), interval(ratios), arithmetic)


def draw(rows: list[Row]) -> bytes:
    """A panel for each dimension: measured multiples as a line, those of the arithmetic as a broken one."""
    names = list(dict.fromkeys(row.name for row in rows))
    with house_style():
        figure = new_figure(WIDE, 6.4)
        panels = figure.subplots(-(-len(names) // 3), 3, sharex=True, sharey=True).flat
        for axes, name in zip(panels, names, strict=False):
            mine = [row for row in rows if row.name == name]
            factors = [row.factor for row in mine]
            middle, least, most = zip(*(row.times_the_seconds for row in mine), strict=True)
            axes.plot(
                factors, [r.times_the_arithmetic for r in mine], "--", color=MUTED, linewidth=1.2, label="arithmetic"
            )
            axes.plot(factors, middle, "o-", color=ARM_COLOURS[0], label="measured")
            axes.fill_between(factors, least, most, color=ARM_COLOURS[0], alpha=0.2, linewidth=0)
            axes.set(title=name, xscale="log", yscale="log", xticks=FACTORS)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(matplotlib.ticker.FormatStrFormatter("%g×"))
                axis.set_minor_locator(matplotlib.ticker.NullLocator())
            axes.set_yticks([1, 2, 4, 8, 16])
        for axes in list(panels)[len(names) :]:
            axes.remove()
        figure.axes[0].legend(frameon=False, loc="upper left")
        figure.supylabel("times as long", color=MUTED, fontsize=9)
        return png(settle(figure))


if __name__ == "__main__":
    typer.run(main)
