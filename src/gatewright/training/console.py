"""What a person sees of a run: the start-up block, a progress bar, a line at every record."""

from __future__ import annotations

import math
import time
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

PAUSE = 0.5
"""Seconds between the lines of two records: nobody reads faster, and a line takes as long as a small layer."""
DETAILS_EVERY = 10
"""Lines of records from one with MFU, memory and gradients to the next."""


class ConsoleLog:
    """Prints to ``console``: with a progress bar on a terminal, plain lines elsewhere (files, pipes, job logs)."""

    def __init__(self, console: Console, max_steps: int) -> None:
        self.console = console
        self.max_steps = max_steps
        self._shown = 0
        self._shown_at = -math.inf
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def start(self, rows: dict[str, str], step: int) -> None:
        """Print the start-up block and, on a terminal, begin the progress bar at ``step``."""
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for label, text in rows.items():
            table.add_row(label, Text(text))
        self.console.rule("training", characters="─")
        self.console.print(table, highlight=False)
        self.console.rule(characters="─")
        if self.console.is_terminal:
            self._progress = Progress(
                TextColumn("step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.fields[numbers]}"),
                TextColumn("ETA"),
                TimeRemainingColumn(),
                console=self.console,
                transient=True,
            )
            self._task = self._progress.add_task("train", total=self.max_steps, completed=step, numbers="")
            self._progress.start()

    def advance(self, step: int) -> None:
        """``step`` updates are done."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, completed=step)

    def append(self, record: dict[str, Any]) -> None:
        """Print one record of metrics.jsonl; not those that follow another too fast, the last step's always."""
        if record["kind"] == "eval":
            self._print(_evaluation(record))
            return
        now = time.monotonic()
        if now < self._shown_at + PAUSE and record["step"] < self.max_steps:
            return
        self._shown_at = now
        rate = record["tokens_per_second"]
        numbers = f"loss {record['loss']:.4f} │ {_rate(rate)}"
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, numbers=numbers)
        self._print(
            f"step {record['step']:>6}/{self.max_steps} │ {numbers} │ lr {record['lr']:.2e} │ ETA {self._eta(record)}"
        )
        if self._shown % DETAILS_EVERY == 0 or record["step"] == self.max_steps:
            for line in _details(record):
                self._print(f"            {line}")
        self._shown += 1

    def note(self, text: str) -> None:
        """Print a remark."""
        self._print(text)

    def close(self) -> None:
        """Take the progress bar away."""
        if self._progress is not None:
            self._progress.stop()

    def _print(self, text: str) -> None:
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _eta(self, record: dict[str, Any]) -> str:
        rate = record["tokens_per_second"]
        if not rate:
            return "–"
        tokens_left = record["tokens"] / record["step"] * (self.max_steps - record["step"])
        return str(timedelta(seconds=round(tokens_left / rate)))


SHOWN = {
    "val_loss": ("val loss", ".4f"),
    "val_accuracy": ("accuracy", ".2%"),
    "val_accuracy_sampled": ("sampled", ".2%"),
    "val_perplexity": ("perplexity", ".2f"),
    "val_token_accuracy": ("token accuracy", ".2%"),
    "val_perplexity_byte": ("perplexity per byte", ".3f"),
    "val_perplexity_word": ("per word", ".1f"),
}
"""The numbers of an evaluation that are printed, in this order, where there are such."""


def _evaluation(record: dict[str, Any]) -> str:
    present = [(label, form, record[key]) for key, (label, form) in SHOWN.items() if record.get(key) is not None]
    return " │ ".join([f"eval {record['step']:>6}", *(f"{label} {value:{form}}" for label, form, value in present)])


def _details(record: dict[str, Any]) -> list[str]:
    if record["flops_per_second"] is None:
        speed = "MFU not known yet: the first step is not timed"
    else:
        mfu = "unknown (no peak for this device)" if record["mfu"] is None else f"{record['mfu']:.2%}"
        speed = f"MFU {mfu} │ achieved {si(record['flops_per_second'], 'FLOP/s')}"
    clipped = f"mean {record['grad_mean']:.2e}, std {record['grad_std']:.2e}"
    lines = [
        f"{speed} │ memory {_memory(record)}",
        f"gradients: norm {record['grad_norm']:.4f} │ clipped: {clipped}",
    ]
    if record["alpha"]:
        lines.append("α by layer: " + " ".join(f"{value:.3f}" for value in record["alpha"].values()))
    return lines


def _memory(record: dict[str, Any]) -> str:
    text = f"{si(record['memory_bytes'], 'B')}, peak {si(record['peak_memory_bytes'], 'B')}"
    if record["reserved_memory_bytes"] is not None:
        text += f", reserved {si(record['reserved_memory_bytes'], 'B')}"
    return text


def _rate(rate: float | None) -> str:
    return "– tok/s" if rate is None else f"{rate:,.0f} tok/s"


def si(value: float | None, unit: str) -> str:
    """A number with an SI prefix: ``855.2 MFLOP``."""
    if value is None:
        return "–"
    for prefix in ("", "k", "M", "G", "T"):
        if abs(value) < 1000:
            return f"{value:.3g} {prefix}{unit}"
        value /= 1000
    return f"{value:.3g} P{unit}"
