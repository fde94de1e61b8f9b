"""Noticing that a trial hangs: it writes neither records nor anything else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

STALL_TIMEOUT = 2 * 60 * 60.0
"""Seconds. A trial writes a record every few steps; the longest silences are compilation and large evaluations."""


class Silence:
    """How long ``files`` have not changed, by the clock of this process: those of nodes may differ or be set back."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files
        self.restart()

    def restart(self) -> None:
        """Count from now."""
        self._seen, self._since = self._look(), time.monotonic()

    def seconds(self) -> float:
        """Time since the last change, or since the last restart."""
        if self._look() != self._seen:
            self.restart()
        return time.monotonic() - self._since

    def _look(self) -> list[tuple[int, int] | None]:
        marks: list[tuple[int, int] | None] = []
        for file in self._files:
            try:
                status = file.stat()
            except FileNotFoundError:
                marks.append(None)
            else:
                marks.append((status.st_size, status.st_mtime_ns))
        return marks
