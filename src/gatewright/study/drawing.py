"""Curves of several arms in one picture: panels, the axis of training, colours and dashes that tell arms apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from gatewright.study.analysis import Analysis
from gatewright.study.kind import has_shuffled_rewards
from gatewright.study.series import Axis, Curves
from gatewright.study.style import ARM_COLOURS, Layout, colours, label_ends, new_figure

SETTLED = 0.2
"""The first share of training, whose steep descent is left out of a curve's scale."""

AXIS_LABELS: dict[Axis, str] = {"tokens": "training tokens", "step": "steps"}

LOSS, REWARD = "Training loss, smoothed", "Reward in training, smoothed"

DASHES = ((7, 4), (2, 3))
"""How the lines are drawn of arms that share a colour with an earlier one: on and off, for a line 2 wide."""

LABELLED = 12
"""The most curves whose names fit beside a panel of the usual height."""
LABEL_INCHES = 0.165


def arm_colours(analysis: Analysis) -> dict[str, str]:
    """The colour of each arm."""
    return colours(list(analysis.arms), analysis.study.baseline)


def arm_dashes(arms: Iterable[str], baseline: str) -> dict[str, tuple[int, int]]:
    """The dashes of those arms for whom the palette has begun again."""
    others = [arm for arm in arms if arm != baseline]
    size = len(ARM_COLOURS)
    return {arm: DASHES[(i // size - 1) % len(DASHES)] for i, arm in enumerate(others) if i >= size}


def line_looks(analysis: Analysis) -> dict[str, dict[str, Any]]:
    """Matplotlib's keywords for the line of each arm."""
    dashes = arm_dashes(analysis.arms, analysis.study.baseline)
    looks: dict[str, dict[str, Any]] = {name: {"color": colour} for name, colour in arm_colours(analysis).items()}
    for name, (on, off) in dashes.items():
        looks[name] |= {"linestyle": (0, (on / 2, off / 2)), "dash_capstyle": "butt"}
    return looks


def settled(analysis: Analysis) -> float:
    """The share of training that a curve's scale passes over: none where it goes on from a trained model."""
    return 0.0 if analysis.rewarded else SETTLED


def to_scale(analysis: Analysis, arms: Iterable[str]) -> list[str]:
    """The arms that a picture is made to hold: not those with shuffled rewards, whose fall would flatten all others."""
    every = list(arms)
    return [arm for arm in every if not has_shuffled_rewards(analysis.designs[arm])] or every


def drawable(curves: Mapping[str, Curves]) -> dict[str, Curves]:
    """The curves of more than one point."""
    return {name: curve for name, curve in curves.items() if curve and len(curve.x) > 1}


def panels(layout: Layout, count: int, height: float, columns: int | None = None) -> tuple[Figure, list[Axes]]:
    """``count`` panels of ``height`` inches: in ``columns``, side by side if left out, or below one another."""
    across = 1 if layout.stacked else columns or count
    rows = -(-count // across)
    figure = new_figure(layout, height * rows)
    return figure, [figure.add_subplot(rows, across, i + 1) for i in range(count)]


def room_for(curves: Mapping[str, Curves], height: float) -> float:
    """The height of a panel beside which the names of all curves fit: ``height``, or more."""
    return height + LABEL_INCHES * max(0, len(curves) - LABELLED)


def training_axis(axes: Axes, axis: Axis) -> None:
    """Make the horizontal axis that of training."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=axis == "step"))
    axes.set_xlabel(AXIS_LABELS[axis])


def plot_bands(axes: Axes, curves: Mapping[str, Curves], analysis: Analysis) -> tuple[float, float]:
    """Means as lines, in bands from the lowest to the highest seed; returns the lowest and highest to be held.

    Those are of the settled curves, and of arms `to_scale`.
    """
    looks, end = line_looks(analysis), max(curve.x[-1] for curve in curves.values())
    seen, held = [], to_scale(analysis, curves)
    for name, curve in curves.items():
        low, high = curve.values.min(axis=0), curve.values.max(axis=0)
        opacity = 0.16 if len(curves) <= len(ARM_COLOURS) + 1 else 0.07  # many bands would hide the lines
        axes.fill_between(curve.x, low, high, color=looks[name]["color"], alpha=opacity, lw=0)
        axes.plot(curve.x, curve.mean, **looks[name])
        late = curve.x >= settled(analysis) * end
        if name in held:
            seen += [low[late].min(), high[late].max()]
    axes.set_xlim(0, end)
    training_axis(axes, analysis.axis)
    return min(seen), max(seen)


def draw_curves(axes: Axes, curves: Mapping[str, Curves], analysis: Analysis, title: str, zero: str = "") -> None:
    """Means and bands with names at their ends; ``zero`` is the arm that is the line at 0."""
    low, high = plot_bands(axes, curves, analysis)
    spread = high - low or 0.01 * abs(high) or 1.0
    axes.set_ylim(low - 0.06 * spread, high + 0.06 * spread)
    axes.set_title(title)
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    colour = arm_colours(analysis)
    ends = [(name, float(curve.mean[-1]), colour[name]) for name, curve in curves.items()]
    if zero:
        ends.append((zero, 0.0, colour[zero]))
    label_ends(axes, ends, max(curve.x[-1] for curve in curves.values()))
