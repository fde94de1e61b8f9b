"""The forest plot: how far each arm is from the one it is compared with, and how sure that is."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from gatewright.study.analysis import Analysis
from gatewright.study.drawing import arm_colours, to_scale
from gatewright.study.statistics import Comparison
from gatewright.study.style import GRID, MUTED, PAPER, Layout, new_figure
from gatewright.study.wording import MINUS, VERDICT_LABELS, difference_text, pair_name


def forest(analysis: Analysis, layout: Layout) -> Figure | None:
    """Differences from the baseline in percent with 95 % intervals, each seed's difference, and the margin."""
    if not analysis.comparisons:
        return None
    rows = sorted(
        analysis.comparisons, key=lambda c: c.mean_difference, reverse=analysis.study.judged_by.lower_is_better
    )
    colour = arm_colours(analysis)
    figure = new_figure(layout, 1.15 + (0.62 if layout.stacked else 0.5) * len(rows))
    axes = figure.add_subplot()
    for y, c in enumerate(rows):
        values, against = analysis.arms[c.arm].values, analysis.arms[c.baseline].values
        own = [c.percent(values[s] - against[s]) for s in values if s in against]
        axes.scatter(own, [y - 0.22] * len(own), s=13, color=colour[c.arm], alpha=0.6, linewidths=0, zorder=3)
        if c.ci95 is not None:
            axes.plot([c.percent(v) for v in c.ci95], [y, y], color=colour[c.arm], lw=2.6, zorder=3)
        axes.scatter(
            [c.percent(c.mean_difference)], [y], s=50, color=colour[c.arm], edgecolor=PAPER, linewidth=1.3, zorder=4
        )
        _label_row(axes, c, pair_name(c, analysis.study.baseline), y, layout, colour[c.arm])
    margin = analysis.study.equivalence_margin
    if margin is not None:
        axes.axvspan(-100 * margin, 100 * margin, color=GRID, alpha=0.55, lw=0, zorder=0)
    axes.axvline(0, color=MUTED, lw=1, zorder=1)
    _hold(axes, rows, analysis)
    axes.set_ylim(-0.6, len(rows) - (0.25 if layout.stacked else 0.45))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g} %".replace("-", MINUS) if x else "0"))
    axes.xaxis.set_major_locator(MaxNLocator(4 if layout.stacked else 7, steps=[1, 2, 5, 10]))
    same = all(c.baseline == analysis.study.baseline for c in rows)
    against_what = analysis.study.baseline if same else "the arm compared with"
    axes.set_title(f"{analysis.study.judged_by.label.capitalize()} against {against_what}")
    sides = ("better", "worse") if analysis.study.judged_by.lower_is_better else ("worse", "better")
    below: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "top",
        "color": MUTED,
        "fontsize": 8.5,
    }
    axes.annotate(f"← {sides[0]}", (0, 0), (0, -19), ha="left", **below)
    axes.annotate(f"{sides[1]} →", (1, 0), (0, -19), ha="right", **below)
    if margin is not None:
        axes.annotate(f"shaded: within ±{100 * margin:g} %", (0.5, 0), (0, -19), ha="center", **below)
    return figure


def _hold(axes: Axes, rows: list[Comparison], analysis: Analysis) -> None:
    """Let the scale be that of the arms it is made to hold, and point to where the others lie."""
    held = to_scale(analysis, [c.arm for c in rows])
    if len(held) == len(rows):
        return
    seen = [0.0]
    for c in rows:
        if c.arm in held:
            values, against = analysis.arms[c.arm].values, analysis.arms[c.baseline].values
            seen += [c.percent(values[s] - against[s]) for s in values if s in against]
            seen += [c.percent(end) for end in c.ci95 or ()]
    margin = 100 * (analysis.study.equivalence_margin or 0)
    low, high = min(-margin, *seen), max(margin, *seen)
    room = 0.08 * (high - low) or 1.0
    axes.set_xlim(low - room, high + room)
    colour = arm_colours(analysis)
    for y, c in enumerate(rows):
        place = c.percent(c.mean_difference)
        if not low <= place <= high:
            edge, marker = (low - 0.7 * room, "<") if place < low else (high + 0.7 * room, ">")
            axes.scatter([edge], [y], s=34, marker=marker, color=colour[c.arm], linewidths=0, zorder=4)


def _label_row(axes: Axes, c: Comparison, name: str, y: int, layout: Layout, colour: str) -> None:
    """A forest row's name, difference and verdict: beside the row, or above it where the page is narrow."""
    verdict = VERDICT_LABELS[c.verdict]
    place: dict[str, Any] = {
        "xycoords": axes.get_yaxis_transform(),
        "textcoords": "offset points",
        "va": "center",
        "annotation_clip": False,
    }
    if layout.stacked:
        axes.annotate(name, (0, y + 0.36), (0, 0), ha="left", color=colour, fontweight="bold", **place)
        axes.annotate(f"{difference_text(c)}   {verdict}", (1, y + 0.36), (0, 0), ha="right", fontsize=8.5, **place)
        return
    axes.annotate(name, (0, y), (-10, 0), ha="right", color=colour, fontweight="bold", **place)
    axes.annotate(difference_text(c), (1, y), (100, 0), ha="right", **place)
    axes.annotate(verdict, (1, y), (112, 0), ha="left", color=colour, fontweight="bold", **place)
