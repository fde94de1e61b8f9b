"""The course of a run, by its losses or by rewards and accuracies, drawn with characters."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import plotille  # type: ignore[import-untyped]
from rich.text import Text

from gatewright.watch.follow import Point

SHOWN_FROM = 0.05
"""The first twentieth of a long curve is not drawn: the fall from the initial loss would flatten all that follows."""
LABEL = 7


def course(train: Sequence[Point], validation: Sequence[Point], width: int, height: int) -> Text:
    """Training as a line and evaluations as dots, ``width`` × ``height`` characters with labels.

    Steps go from the first drawn to the newest, values from the least to the greatest drawn.
    """
    newest = max((points[-1].step for points in (train, validation) if points), default=0)
    start = SHOWN_FROM * newest if len(train) > 2 / SHOWN_FROM else 0
    line = [point for point in train if point.step >= start]
    dots = [point for point in validation if point.step >= start]
    drawn = [*line, *dots]
    if len(drawn) < 2:
        return Text("no curve yet", style="dim")
    first, low, high = (min(p.step for p in drawn), min(p.value for p in drawn), max(p.value for p in drawn))
    slack = 0.02 * (high - low) or 0.01
    canvas = plotille.Canvas(width - LABEL, height - 1, first, low - slack, newest + 1, high + slack)
    for a, b in pairwise(line):
        canvas.line(a.step, a.value, b.step, b.value, color="cyan")
    for point in dots:
        canvas.point(point.step, point.value, color="yellow", marker="•")
    rows = canvas.plot(linesep="\n").split("\n")
    labels = {0: f"{high:.2f}", len(rows) - 1: f"{low:.2f}"}
    text = Text(no_wrap=True)
    for number, row in enumerate(rows):
        text.append(f"{labels.get(number, ''):>{LABEL - 2}} ", style="dim")
        text.append("│", style="dim")
        text.append(Text.from_ansi(row))
        text.append("\n")
    left, right = f"{first:,}", f"{newest:,}"
    text.append(" " * LABEL + left + right.rjust(width - LABEL - len(left)), style="dim")
    return text
