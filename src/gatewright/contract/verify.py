"""The whole contract of one part, line by line: what a test suite or a command reports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gatewright.contract.case import Case, cases
from gatewright.contract.line import MODEL, BrokenLineError, Line, UncheckedError, lines
from gatewright.contract.model_case import model_cases
from gatewright.registry import Entry


@dataclass(frozen=True)
class Verdict:
    """What came of one line. ``error`` and ``unchecked`` are None where the line is kept in all cases."""

    line: Line
    cases: int
    seconds: float
    error: str | None = None
    unchecked: str | None = None
    cause: BaseException | None = None
    """what was raised inside of the broken line, with its traceback"""


def verify(entry: Entry) -> Iterator[Verdict]:
    """Check a registered part: every line of its kind in all cases, then those of a whole model with the part in it,
    if it is one that goes into models.

    Lazily, one verdict after another. A line is over at its first broken case.
    """
    own = list(cases(entry)) if entry.kind != "init" else [Case(entry)]
    for line in lines(entry.kind):
        yield _judge(line, own)
    whole = list(model_cases(entry))
    for line in lines(MODEL) if whole else ():
        yield _judge(line, whole)


def _judge(line: Line, over: list[Any]) -> Verdict:
    begun = time.perf_counter()
    error = unchecked = cause = None
    try:
        for case in over:
            line(case)
    except BrokenLineError as broken:
        error, cause = str(broken), broken.__cause__
    except UncheckedError as reason:
        unchecked = str(reason)
    return Verdict(line, len(over), time.perf_counter() - begun, error, unchecked, cause)
