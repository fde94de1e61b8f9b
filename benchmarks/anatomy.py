"""Where the time of a training step goes: a profile of `gatewright train` after it has warmed up.

    python benchmarks/anatomy.py --shape mid

All is as by default, but it is compiled although the run is short.
"""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from contenders.job import train_options
from machine import describe_machine
from rich.console import Console
from rich.table import Table
from torch.profiler import ProfilerActivity, profile
from turns import SHAPES, Shape, letters

import gatewright as gw
from gatewright.files import write_atomic
from gatewright.training.update import StepResult, Updater

KINDS = {
    "matrix products of layers and head": ("aten::mm", "aten::addmm"),
    "matrix products of attention": ("aten::bmm", "aten::baddbmm", "aten::_scaled_dot_product"),
    "the head's loss in C++": ("gatewright::",),
    "compiled loops: activations, norms, softmax, casts": ("graph_",),
    "optimizer and clipping": ("aten::_fused_adamw_", "aten::linalg_vector_norm", "aten::mul_", "Optimizer."),
    "copies and sums outside compiled loops": ("aten::copy_", "aten::add_", "aten::fill_"),
}
"""By the beginning of their names; the rest is Python, dispatch and what is too small to name."""
REST = "Python, dispatch, all else"
TURNS = 10
"""As many turns as the other benchmarks take of a shape are looked at."""
console = Console()


def main(
    shape: Annotated[str, typer.Option(help=f"one of {', '.join(SHAPES)}")] = "mid",
    out: Annotated[Path | None, typer.Option(help="also write the numbers as JSON")] = None,
) -> None:
    """Print milliseconds and shares of a step."""
    if shape not in SHAPES:
        raise typer.BadParameter(f"{shape}: choose one of {', '.join(SHAPES)}")
    size = SHAPES[shape]
    with letters() as text, tempfile.TemporaryDirectory() as place:
        milliseconds = profiled(size, text, Path(place) / "run")
    total = math.fsum(milliseconds.values())
    rows = [{"name": name, "milliseconds": value, "share": value / total} for name, value in milliseconds.items()]
    found = {"shape": shape, **asdict(size), "machine": describe_machine(), "rows": rows}
    table = Table("", "ms a step", "share", title=f"a step of {shape}")
    for row in rows:
        table.add_row(row["name"], f"{row['milliseconds']:.1f}", f"{row['share']:.0%}")
    console.print(table)
    if out is not None:
        write_atomic(out, json.dumps(found, indent=1) + "\n")


def profiled(size: Shape, text: Path, run: Path) -> dict[str, float]:
    """Milliseconds of a step by kind: the processor's time in operators themselves, not in those that they call."""
    torch._inductor.config.cpp.enable_kernel_profile = True  # or compiled loops would not be told from their callers
    watch = profile(activities=[ProfilerActivity.CPU])
    plain = Updater.step
    steps = TURNS * size.steps
    last = size.warmup + steps

    def step(self: Updater, number: int) -> StepResult:
        if number == size.warmup:
            watch.start()
        result = plain(self, number)
        if number == last - 1:
            watch.stop()
        return result

    overrides = [*train_options(size, text, run), f"train.max_steps={last}", "train.compile=true"]
    Updater.step = step  # type: ignore[method-assign]
    try:
        gw.train(gw.load_config(overrides), console=Console(quiet=True))
    finally:
        Updater.step = plain  # type: ignore[method-assign]
    spent = dict.fromkeys([*KINDS, REST], 0.0)
    for event in watch.key_averages():
        kind = next((kind for kind, names in KINDS.items() if event.key.startswith(names)), REST)
        spent[kind] += event.self_cpu_time_total / 1e3 / steps
    return spent


if __name__ == "__main__":
    typer.run(main)
