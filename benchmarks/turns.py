"""Contenders that live at once and take turns: what slows the machine slows all of them, and ratios mean something."""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from contenders.job import Answer, Job, Shape
from scipy import stats

FOLDER = Path(__file__).parent / "contenders"
ALPHABET = "".join(chr(code) for code in range(ord("0"), ord("0") + 63))
"""65 tokens, with the end of text and the unknown."""


SHAPES = {
    "toy": Shape(1, 1, 16, 8, 65, 2, 1, 1),
    "small": Shape(4, 4, 128, 64, 65, 12, 50, 10),
    "even": Shape(4, 4, 128, 128, 8192, 8, 10, 4),
    "mid": Shape(6, 6, 384, 256, 50_257, 8, 3, 1),
    "gpt2": Shape(12, 12, 768, 512, 50_257, 4, 2, 1),
}


@dataclass(frozen=True)
class Contender:
    """A script and what it trains, the interpreter it needs, and the mode it runs in."""

    name: str
    shape: Shape
    script: str = "ours.py"
    python: str = sys.executable
    precision: str = "float32"
    compiled: bool = False
    checkout: str = ""
    options: tuple[str, ...] = ()
    source: str = ""
    """A folder to import from before all others."""

    @property
    def mode(self) -> str:
        """How it runs, in words."""
        if self.script == "ours.py":
            return " ".join(self.options) or "defaults"
        return f"{self.precision}, {'compiled' if self.compiled else 'eager'}"


class Run:
    """A contender in a process of its own that waits for its turns; warmed up once entered."""

    def __init__(self, contender: Contender, text: Path) -> None:
        self.contender = contender
        self.seconds: list[float] = []
        """Of each turn."""
        self.answer: Answer
        """The last."""
        shape = contender.shape
        job = Job(**asdict(shape), precision=contender.precision, compiled=contender.compiled, text=str(text),
                  checkout=contender.checkout)  # fmt: skip
        command = [contender.python, str(FOLDER / contender.script), json.dumps(asdict(job)), *contender.options]
        environment = {**os.environ, "PYTHONPATH": contender.source} if contender.source else None
        self.complaints = Path(tempfile.mkdtemp(dir=text.parent)) / "complaints.txt"
        with self.complaints.open("w") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file,
                                            text=True, env=environment)  # fmt: skip

    def __enter__(self) -> Run:
        """Raises `RuntimeError` with the last line of its complaint where it does not come so far."""
        try:
            self._read()  # that it is ready
            self._take(self.contender.shape.warmup)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    def take_turn(self) -> None:
        """As many steps as its shape says."""
        self._take(self.contender.shape.steps)
        self.seconds.append(self.answer.seconds)

    @property
    def tokens_per_second(self) -> list[float]:
        """Of each turn."""
        shape = self.contender.shape
        return [shape.steps * shape.tokens / seconds for seconds in self.seconds]

    def facts(self) -> dict[str, Any]:
        """What a table says of it alone."""
        return {
            "name": self.contender.name,
            "mode": self.contender.mode,
            "tokens_per_second": spread(self.tokens_per_second),
            "peak_memory_bytes": self.answer.peak_memory_bytes,
        }

    def times_as_fast_as(self, other: Run) -> list[float]:
        """Median over the rounds, and its bootstrap interval."""
        pairs = zip(self.tokens_per_second, other.tokens_per_second, strict=True)
        return interval([mine / its for mine, its in pairs])

    def _take(self, steps: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self._read()

    def _read(self) -> None:
        assert self.process.stdout is not None
        line = next((line for line in self.process.stdout if line.startswith("{")), "")  # peers print of themselves
        if not line:
            lines = self.complaints.read_text().strip().splitlines() or ["no word of why"]
            raise RuntimeError(f"{self.contender.name} ended early: {lines[-1]}")
        self.answer = Answer(**json.loads(line))


def take_turns(contenders: Sequence[Contender], text: Path, rounds: int) -> list[Run]:
    """All contenders, round by round, in an order that changes; each first loss is that of an untrained model."""
    with ExitStack() as stack:
        runs = [stack.enter_context(Run(contender, text)) for contender in contenders]
        for run in runs:
            loss = run.answer.first_loss
            if not math.isclose(loss, math.log(run.contender.shape.vocab_size), rel_tol=0.1):
                raise SystemExit(f"{run.contender.name} does other work: its first loss is {loss:.3f}")
        for number in range(rounds):
            for run in random.Random(number).sample(runs, len(runs)):
                run.take_turn()
    return runs


@contextmanager
def letters() -> Iterator[Path]:
    """A file of half a million random letters, in a folder that goes with it."""
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "letters.txt"
        text.write_text("".join(random.Random(0).choices(ALPHABET, k=500_000)))
        yield text


def timed_turns(calls: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each call in this process, turn by turn; a turn before these warms up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            taken = timed(call)
            if turn:
                seconds[name].append(taken)
    return seconds


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def spread(values: Sequence[float]) -> list[float]:
    """Median, least and most."""
    return [statistics.median(values), min(values), max(values)]


def interval(ratios: Sequence[float]) -> list[float]:
    """Their median and its bootstrap interval of 95 %."""
    if len(set(ratios)) == 1:
        return [ratios[0]] * 3
    found = stats.bootstrap((ratios,), np.median, method="percentile", rng=np.random.default_rng(0))
    return [float(np.median(ratios)), *map(float, found.confidence_interval)]
