"""What paths hear of one another, over training: one picture for all arms."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from gatewright.study import series
from gatewright.study.analysis import Analysis
from gatewright.study.drawing import drawable, line_looks, panels, plot_bands
from gatewright.study.series import Curves
from gatewright.study.style import Layout

MOST_NAMES = 4
"""Names side by side in a legend of a wide figure."""
LEGEND_LINE = 0.19
"""Inches of a row of it."""

QUANTITIES = {
    "gate.attention_entropy": "Attention entropy, nats",
    "gate.effective_peers": "Effective peers",
    "gate.differing_mass": "Attention on peers that drew another token",
    "gate.blend_divergence": "KL(blended ‖ plain), nats a token",
}
"""Titles of the panels by what they show of training records."""

SHARES = frozenset({"gate.differing_mass"})
TENFOLD = 10
"""From this ratio of the highest to the lowest on, the axis has powers of ten."""


def listening(analysis: Analysis, layout: Layout) -> Figure | None:
    """Attention entropy, effective peers, attention on differing tokens and KL(blended ‖ plain), a panel each."""
    if not analysis.rewarded:
        return None
    found = {key: _curves(analysis, key) for key in QUANTITIES}
    drawn = {key: curves for key, curves in found.items() if curves}
    if not drawn:
        return None
    names = [name for name in analysis.arms if any(name in curves for curves in drawn.values())]
    columns = min(len(names), MOST_NAMES // (2 if layout.stacked else 1))
    rows = -(-len(names) // columns)
    across = 1 if layout.stacked else 2
    figure, places = panels(layout, len(drawn), 2.2, columns=across)
    figure.set_figheight(figure.get_figheight() + LEGEND_LINE * (rows + 1))
    for axes, (key, curves) in zip(places, drawn.items(), strict=True):
        low, high = plot_bands(axes, curves, analysis)
        _scale(axes, low, high, percent=key in SHARES)
        axes.set_title(QUANTITIES[key])
    looks = line_looks(analysis)
    handles = [places[0].plot([], [], **looks[name])[0] for name in names]
    figure.legend(
        handles, names, loc="outside upper left", ncols=columns, frameon=False, fontsize=8.5, handlelength=2.6,
        labelcolor=[looks[name]["color"] for name in names],
    )  # fmt: skip
    return figure


def _scale(axes: Axes, low: float, high: float, *, percent: bool) -> None:
    """Limits that hold both, and numbers for reading; by powers of ten where that is wanted."""
    if high > TENFOLD * low > 0:
        axes.set_yscale("log")
        axes.set_ylim(low / 1.3, high * 1.3)
        few = high > 30 * TENFOLD * low
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if few else (1.0, 2.0, 5.0)))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        spread = high - low or 0.01 * abs(high) or 1.0
        axes.set_ylim(low - 0.06 * spread, high + 0.06 * spread)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:g} %" if percent else f"{y:g}")


def _curves(analysis: Analysis, key: str) -> dict[str, Curves]:
    """By arm, where it is not 0 throughout, as is the entropy of hearing a single peer."""
    curves = {name: series.training(arm, key, analysis.axis) for name, arm in analysis.arms.items()}
    return {name: curve for name, curve in drawable(curves).items() if np.any(curve.values)}
