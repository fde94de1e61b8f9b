"""Reading ``metrics.jsonl`` while it is being written: only what is new, and never half a line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gatewright.training.metrics import LONGEST_LINE, parse_record

TAIL_BYTES = 65_536
MOST_POINTS = 4_096
RATE_OVER = 20
"""Training records over which the speed is taken; at the usual settings two evaluations fall among them."""


@dataclass(frozen=True)
class Progress:
    """The newest numbers of a run; None where nothing was logged yet."""

    step: int = 0
    tokens: int = 0
    loss: float | None = None
    val_loss: float | None = None
    tokens_per_second: float | None = None
    reward: float | None = None
    """of runs that learn from rewards, of whose loss there is nothing to be read"""
    val_accuracy: float | None = None
    """of runs that learn a task"""

    @property
    def trained(self) -> Measured:
        """How training goes: by its reward, or else its loss."""
        return Measured("loss", self.loss) if self.reward is None else Measured("reward", self.reward)

    @property
    def judged(self) -> Measured:
        """What evaluation says: the loss, or the accuracy where there is none."""
        by_accuracy = self.val_loss is None and self.val_accuracy is not None
        return Measured("accuracy", self.val_accuracy) if by_accuracy else Measured("val loss", self.val_loss)


class Measured(NamedTuple):
    """A number and what it is."""

    name: str
    value: float | None


class Point(NamedTuple):
    """A loss, reward or accuracy at a step."""

    step: int
    value: float


class History:
    """What a metrics file says: the newest record of each kind, and the course of training and of evaluations.

    `update` reads on from where it last stopped. A file that was replaced or became shorter (a resumed run drops the
    records of steps it repeats) is read again from its beginning; a torn line is passed over, and one that is still
    being written waits for its end. With ``tail`` only that many bytes before the end are ever read.
    """

    def __init__(self, file: Path, tail: int | None = None) -> None:
        self.file = file
        self._tail = tail
        self._inode: int | None = None
        self._begin(0)

    def _begin(self, offset: int) -> None:
        self._offset = offset
        self.newest: dict[str, dict[str, Any]] = {}
        self.train: list[Point] = []
        self.validation: list[Point] = []
        self._clock: list[tuple[float, int]] = []

    def update(self) -> None:
        """Take in the lines that were finished since the last call; a file that is not there yet holds none."""
        if not self.file.is_file():
            return
        with self.file.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_ino != self._inode or status.st_size < self._offset:
                self._inode = status.st_ino
                self._begin(max(0, status.st_size - self._tail) if self._tail else 0)
            file.seek(self._offset)
            for line in iter(lambda: file.readline(LONGEST_LINE), b""):
                if not line.endswith(b"\n") and len(line) < LONGEST_LINE:
                    break
                self._offset += len(line)
                self._add(line)

    def _add(self, line: bytes) -> None:
        record = parse_record(line)
        if record is None:  # torn by a crash, damaged, or the first of a tail
            return
        kind, step = str(record.get("kind")), record["step"]
        self.newest[kind] = record
        if kind == "train":
            _append(self.train, step, _progress(record, {}).trained.value)
            if isinstance(record.get("time"), (int, float)):
                self._clock = [*self._clock[1 - RATE_OVER :], (record["time"], step)]
        elif kind == "eval":
            _append(self.validation, step, _progress({}, record).judged.value)

    @property
    def progress(self) -> Progress:
        """The newest numbers."""
        return _progress(self.newest.get("train", {}), self.newest.get("eval", {}))

    def seconds_to(self, step: int, now: float, since: float = 0.0) -> float | None:
        """Time from ``now`` until ``step`` is done, at the pace of the newest records written after ``since``.

        The pace is by the wall clock, so evaluations and checkpoints are in it. Before there are two such records it
        is that of training proper; None before there is one.
        """
        clock = [entry for entry in self._clock if entry[0] >= since]
        if not clock:
            return None
        (began, first), (last_time, last) = clock[0], clock[-1]
        if last_time > began and last > first:
            pace = (last_time - began) / (last - first)
        else:
            rate, tokens = self.progress.tokens_per_second, self.progress.tokens
            if not rate or not last:
                return None
            pace = tokens / last / rate
        return max(0.0, last_time + pace * (step - last) - now)


def _progress(train: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Progress:
    return Progress(
        step=max(train.get("step", 0), evaluation.get("step", 0)),
        tokens=max(train.get("tokens", 0), evaluation.get("tokens", 0)),
        loss=train.get("loss"),
        val_loss=evaluation.get("val_loss"),
        tokens_per_second=train.get("tokens_per_second"),
        reward=train.get("reward"),
        val_accuracy=evaluation.get("val_accuracy"),
    )


def _append(points: list[Point], step: int, value: float | None) -> None:
    """Add a point; drop those of steps that are being repeated, and every other one when there are too many to draw."""
    while points and points[-1].step >= step:
        points.pop()
    if value is not None:
        points.append(Point(step, value))
    if len(points) > MOST_POINTS:
        del points[1:-1:2]


def read_progress(metrics_file: Path) -> Progress:
    """The newest training and evaluation record of ``metrics.jsonl``, from its end only."""
    history = History(metrics_file, TAIL_BYTES)
    history.update()
    return history.progress
