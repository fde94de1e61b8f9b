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
    """Hands every record to each of the places. With ``resume_step``, records of later steps are dropped first.

    Without a ``folder`` nothing is written: of several processes one does.
    """

    def __init__(
        self, folder: Path | None, console: Console, max_steps: int, *, tensorboard: bool, resume_step: int | None
    ) -> None:
        self.console = ConsoleLog(console, max_steps)
        self.logs: list[MetricsLog | TensorBoardLog] = []
        if folder is not None:
            self.logs.append(MetricsLog(folder / METRICS, resume_step))
            if tensorboard:
                self.logs.append(TensorBoardLog(folder / TENSORBOARD, resume_step))

    def start(self, rows: dict[str, str], step: int) -> None:
        """Show the start-up block."""
        self.console.start(rows, step)

    def advance(self, step: int) -> None:
        """``step`` updates are done."""
        self.console.advance(step)

    def append(self, record: dict[str, Any]) -> None:
        """Hand out one record."""
        for log in self.logs:
            log.append(record)
        self.console.append(record)

    def note(self, text: str) -> None:
        """Tell the person watching."""
        self.console.note(text)

    def close(self) -> None:
        """Close files and progress bar."""
        self.console.close()
        for log in self.logs:
            log.close()
