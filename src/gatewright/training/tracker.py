"""Where the records of a run go: metrics.jsonl, TensorBoard and the console."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from gatewright.run import METRICS, TENSORBOARD
from gatewright.training.console import ConsoleLog
from gatewright.training.metrics import MetricsLog
from gatewright.training.tensorboard import TensorBoardLog


class Tracker:
    """Hands every record to each of the places. With ``resume_step``, records of later steps are dropped first."""

    def __init__(
        self, folder: Path, console: Console, max_steps: int, *, tensorboard: bool, resume_step: int | None
    ) -> None:
        self.metrics = MetricsLog(folder / METRICS, resume_step)
        self.tensorboard = TensorBoardLog(folder / TENSORBOARD, resume_step) if tensorboard else None
        self.console = ConsoleLog(console, max_steps)

    def start(self, rows: dict[str, str], step: int) -> None:
        """Show the start-up block."""
        self.console.start(rows, step)

    def advance(self, step: int) -> None:
        """``step`` updates are done."""
        self.console.advance(step)

    def append(self, record: dict[str, Any]) -> None:
        """Hand out one record."""
        self.metrics.append(record)
        if self.tensorboard is not None:
            self.tensorboard.append(record)
        self.console.append(record)

    def note(self, text: str) -> None:
        """Tell the person watching."""
        self.console.note(text)

    def close(self) -> None:
        """Close files and progress bar."""
        self.console.close()
        self.metrics.close()
        if self.tensorboard is not None:
            self.tensorboard.close()
