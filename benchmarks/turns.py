"""Processes that take turns: so that a machine that slows down slows all of them, and ratios mean something."""

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
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from contenders.job import Answer, Job, Shape

FOLDER = Path(__file__).parent / "contenders"
ALPHABET = "".join(chr(code) for code in range(ord("0"), ord("0") + 63))
"""65 tokens, with the end of text and the unknown."""


SHAPES = {
    "toy": Shape(1, 1, 16, 8, 65, 2, 1, 1),
    "small": Shape(4, 4, 128, 64, 65, 12, 50, 400),
    "even": Shape(4, 4, 128, 128, 8192, 8, 10, 40),
    "mid": Shape(6, 6, 384, 256, 50_257, 8, 2, 8),
    "gpt2": Shape(12, 12, 768, 512, 50_257, 4, 1, 4),
}


@dataclass(frozen=True)
class Contender:
    """A script, the interpreter it needs, and the mode it runs in."""

    name: str
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

    def take_turn(self, shape: Shape, text: Path) -> Answer:
        """One process. Raises `RuntimeError` with the last line of its complaint."""
        job = Job(**asdict(shape), precision=self.precision, compiled=self.compiled, text=str(text),
                  checkout=self.checkout)  # fmt: skip
        command = [self.python, str(FOLDER / self.script), json.dumps(asdict(job)), *self.options]
        environment = {**os.environ, "PYTHONPATH": self.source} if self.source else None
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["no word of why"])[-1])
        return Answer(**json.loads(done.stdout.strip().splitlines()[-1]))


@contextmanager
def letters() -> Iterator[Path]:
    """A file of half a million random letters."""
    with tempfile.TemporaryDirectory() as place:
        text = Path(place) / "letters.txt"
        text.write_text("".join(random.Random(0).choices(ALPHABET, k=500_000)))
        yield text


def take_turns(contenders: Sequence[Contender], shape: Shape, text: Path, turns: int) -> dict[str, list[Answer]]:
    """All contenders, turn by turn, in an order that changes; each first loss is that of a model that knows nothing."""
    answers: dict[str, list[Answer]] = {each.name: [] for each in contenders}
    for turn in range(turns):
        for each in random.Random(turn).sample(contenders, len(contenders)):
            answer = each.take_turn(shape, text)
            if not math.isclose(answer.first_loss, math.log(shape.vocab_size), rel_tol=0.1):
                raise SystemExit(f"{each.name} does other work: its first loss is {answer.first_loss:.3f}")
            answers[each.name].append(answer)
    return answers


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


def summarise(contenders: Sequence[Contender], answers: dict[str, list[Answer]]) -> list[dict[str, Any]]:
    """Speeds, memory, and the ratio of the first contender to each, turn by turn: median, least and most."""
    first = [answer.tokens_per_second for answer in answers[contenders[0].name]]
    rows = []
    for each in contenders:
        speeds = [answer.tokens_per_second for answer in answers[each.name]]
        rows.append(
            {
                "name": each.name,
                "mode": each.mode,
                "tokens_per_second": spread(speeds),
                "peak_memory_bytes": statistics.median(answer.peak_memory_bytes for answer in answers[each.name]),
                "first_over_it": spread([mine / theirs for mine, theirs in zip(first, speeds, strict=True)]),
            }
        )
    return rows


def spread(values: Sequence[float]) -> list[float]:
    """Median, least and most."""
    return [statistics.median(values), min(values), max(values)]
