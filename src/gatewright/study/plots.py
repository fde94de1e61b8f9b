"""The figures of a report: each function draws one in a given layout, or returns None if there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from gatewright.study import series
from gatewright.study.analysis import Analysis
from gatewright.study.checks import FLOPS_TOLERANCE, PARAMETERS_TOLERANCE
from gatewright.study.series import Curves
from gatewright.study.statistics import Comparison
from gatewright.study.style import GRID, MUTED, PAPER, Layout, colours, label_ends, new_figure, spread_labels
from gatewright.study.wording import MINUS, VERDICT_LABELS, difference_text, pair_name

Plot = Callable[[Analysis, Layout], Figure | None]

MOST_NAMED_SEEDS = 8

SETTLED = 0.2
"""The first share of training, whose steep descent is left out of a curve's scale."""


def forest(analysis: Analysis, layout: Layout) -> Figure | None:
    """Differences from the baseline in percent with 95 % intervals, each seed's difference, and the margin."""
    if not analysis.comparisons:
        return None
    rows = sorted(
        analysis.comparisons, key=lambda c: c.mean_difference, reverse=analysis.study.judged_by.lower_is_better
    )
    colour = _colours(analysis)
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


def learning(analysis: Analysis, layout: Layout) -> Figure | None:
    """The judged metric over training, and its paired difference from the baseline; bands span the seeds."""
    metric = analysis.study.judged_by
    if metric.record_key is None:
        return None
    curves = {name: series.evaluations(arm, metric.record_key) for name, arm in analysis.arms.items()}
    curves = {name: curve for name, curve in curves.items() if curve and len(curve.tokens) > 1}
    if not curves:
        return None
    paired = {
        name: curve.against(curves[analysis.study.baseline])
        for name, curve in curves.items()
        if name != analysis.study.baseline and analysis.study.baseline in curves
    }
    paired = {name: curve for name, curve in paired.items() if curve and len(curve.tokens) > 1}
    figure, panels = _panels(layout, 1 + bool(paired), 3.0)
    _draw_curves(panels[0], curves, analysis, metric.label.capitalize())
    if paired:
        panels[1].axhline(0, color=MUTED, lw=1)
        _draw_curves(
            panels[1], paired, analysis, f"Difference from {analysis.study.baseline}, %", zero=analysis.study.baseline
        )
    return figure


def training_loss(analysis: Analysis, layout: Layout) -> Figure | None:
    """Training loss, smoothed; bands span the seeds."""
    curves = {name: series.training(arm) for name, arm in analysis.arms.items()}
    curves = {name: curve for name, curve in curves.items() if curve and len(curve.tokens) > 1}
    if not curves:
        return None
    figure, panels = _panels(layout, 1, 2.9)
    _draw_curves(panels[0], curves, analysis, "Training loss, smoothed")
    return figure


def seeds(analysis: Analysis, layout: Layout) -> Figure | None:
    """Every run's result, one column an arm; lines join the runs of one seed."""
    ranked = [arm for arm in analysis.ranking if arm.n]
    if len(ranked) < 2:
        return None
    colour = _colours(analysis)
    figure = new_figure(layout, 2.9)
    axes = figure.add_subplot()
    ends = []
    for seed in [seed for seed in analysis.study.seeds if any(seed in arm.values for arm in ranked)]:
        line = [(x, arm.values[seed]) for x, arm in enumerate(ranked) if seed in arm.values]
        axes.plot([x for x, _ in line], [y for _, y in line], color=MUTED, lw=0.8, alpha=0.6, zorder=1)
        ends.append((f"seed {seed}", line[-1][1], MUTED))
    for x, arm in enumerate(ranked):
        axes.scatter(
            [x] * arm.n,
            list(arm.values.values()),
            s=30,
            color=colour[arm.name],
            edgecolor=PAPER,
            linewidth=0.8,
            zorder=3,
        )
        mean = arm.mean or 0.0
        axes.plot([x - 0.16, x + 0.16], [mean, mean], color=colour[arm.name], lw=2.2, zorder=2)
    axes.set_xticks(range(len(ranked)), [arm.name for arm in ranked])
    if max(len(arm.name) for arm in ranked) * len(ranked) > (36 if layout.stacked else 80):
        axes.tick_params(axis="x", rotation=30)
        for tick in axes.get_xticklabels():
            tick.set_horizontalalignment("right")
            tick.set_rotation_mode("anchor")
    for tick, arm in zip(axes.get_xticklabels(), ranked, strict=True):
        tick.set_color(colour[arm.name])
    axes.set_xlim(-0.4, len(ranked) - 0.4)
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{analysis.study.judged_by.label.capitalize()} of every run")
    figure.draw_without_rendering()
    if len(ends) <= MOST_NAMED_SEEDS:
        label_ends(axes, ends, len(ranked) - 1)
    return figure


def alpha(analysis: Analysis, layout: Layout) -> Figure | None:
    """α over training, mean over seeds, one line a layer (light to dark with depth), for arms whose α moves."""
    moving = {name: series.alphas(arm) for name, arm in analysis.arms.items()}
    moving = {name: layers for name, layers in moving.items() if any(_moves(curve) for curve in layers.values())}
    if not moving:
        return None
    columns = 1 if layout.stacked else min(2, len(moving))
    rows = -(-len(moving) // columns)
    figure = new_figure(layout, 0.3 + 2.3 * rows)
    colour = _colours(analysis)
    for place, (name, layers) in enumerate(moving.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        drawn = {layer: curve for layer, curve in layers.items() if curve}
        for depth, curve in enumerate(drawn.values()):
            strength = 0.35 + 0.65 * depth / max(len(drawn) - 1, 1)
            axes.plot(curve.tokens, curve.mean, color=colour[name], alpha=strength, lw=1.6)
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(f"α of {name}")
        _token_axis(axes)
        figure.draw_without_rendering()
        last = {layer: curve for layer, curve in drawn.items() if layer in (next(iter(drawn)), list(drawn)[-1])}
        ends = [
            (f"layer {layer}" if layer.isdigit() else layer, curve.mean[-1], colour[name])
            for layer, curve in last.items()
        ]
        label_ends(axes, ends, max(curve.tokens[-1] for curve in last.values()))
    return figure


def learning_rates(analysis: Analysis, layout: Layout) -> Figure | None:
    """The metric against the learning rate, one line an arm through its means; a ring marks the rate it got."""
    chosen = [choice for choice in analysis.choices.values() if choice.means]
    if not chosen:
        return None
    figure, (axes,) = _panels(layout, 1, 2.9)
    colour = _colours(analysis)
    ends = []
    for choice in chosen:
        for rate, values in choice.values.items():
            axes.scatter([rate] * len(values), values, s=13, color=colour[choice.arm], alpha=0.5, linewidths=0)
        rates, means = list(choice.means), list(choice.means.values())
        axes.plot(rates, means, color=colour[choice.arm])
        if choice.learning_rate is not None:
            axes.scatter(
                [choice.learning_rate], [choice.means[choice.learning_rate]], s=64, facecolor="none",
                edgecolor=colour[choice.arm], linewidth=1.8, zorder=4,
            )  # fmt: skip
        ends.append((choice.arm, means[-1], colour[choice.arm]))
    grid = sorted({rate for choice in chosen for rate in choice.runs})
    axes.set_xscale("log")
    axes.set_xticks(grid, [f"{rate:g}" for rate in grid])
    axes.minorticks_off()
    axes.set_xlabel("learning rate")
    axes.set_title(f"{analysis.study.judged_by.label.capitalize()} on the tuning seeds")
    figure.draw_without_rendering()
    label_ends(axes, ends, max(max(choice.means) for choice in chosen))
    return figure


def cost(analysis: Analysis, layout: Layout) -> Figure | None:
    """The metric against parameters and FLOPs per token, where arms differ in them by more than the tolerances."""
    arms = [
        arm
        for arm in analysis.arms.values()
        if arm.n and arm.recorded("parameters") and arm.recorded("flops_per_token")
    ]
    axes_of = [
        (key, label)
        for key, label, tolerance in (
            ("parameters", "parameters", PARAMETERS_TOLERANCE),
            ("flops_per_token", "training FLOPs per token", FLOPS_TOLERANCE),
        )
        if arms and max(a.recorded(key) for a in arms) > (1 + tolerance) * min(a.recorded(key) for a in arms)
    ]
    if not axes_of:
        return None
    figure, panels = _panels(layout, len(axes_of), 2.7)
    colour = _colours(analysis)
    for axes, (key, label) in zip(panels, axes_of, strict=True):
        for arm in arms:
            values = list(arm.values.values())
            axes.scatter([arm.recorded(key)] * arm.n, values, s=14, color=colour[arm.name], alpha=0.5, linewidths=0)
            axes.scatter(
                [arm.recorded(key)],
                [arm.mean or 0.0],
                s=46,
                color=colour[arm.name],
                edgecolor=PAPER,
                linewidth=1.2,
                zorder=3,
            )
        axes.margins(x=0.4)
        axes.set_title(f"{analysis.study.judged_by.label.capitalize()} against {label}")
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        figure.draw_without_rendering()
        low, high = axes.get_xlim()
        for side in (False, True):  # names of the cheaper half stand left of their point, of the dearer half right
            half = sorted(
                (a for a in arms if (a.recorded(key) > (low + high) / 2) == side), key=lambda a: a.mean or 0.0
            )
            for arm, place in zip(half, spread_labels(axes, [a.mean or 0.0 for a in half]), strict=True):
                offset = 0.04 * (high - low) * (1 if side else -1)
                axes.annotate(
                    arm.name, (arm.recorded(key), arm.mean or 0.0), (arm.recorded(key) + offset, place), va="center",
                    ha="left" if side else "right", color=colour[arm.name], fontsize=8.5, annotation_clip=False,
                )  # fmt: skip
    return figure


def _moves(curve: Curves) -> bool:
    return bool(curve) and bool(np.ptp(curve.values) > 1e-6)


def _colours(analysis: Analysis) -> dict[str, str]:
    return colours(list(analysis.arms), analysis.study.baseline)


def _panels(layout: Layout, count: int, height: float) -> tuple[Figure, list[Axes]]:
    shape = (count, 1) if layout.stacked else (1, count)
    figure = new_figure(layout, height * shape[0])
    return figure, [figure.add_subplot(*shape, i + 1) for i in range(count)]


def _token_axis(axes: Axes) -> None:
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("training tokens")


def _draw_curves(axes: Axes, curves: dict[str, Curves], analysis: Analysis, title: str, zero: str = "") -> None:
    colour = _colours(analysis)
    end = max(curve.tokens[-1] for curve in curves.values())
    settled = []
    for name, curve in curves.items():
        low, high = curve.values.min(axis=0), curve.values.max(axis=0)
        axes.fill_between(curve.tokens, low, high, color=colour[name], alpha=0.16, lw=0)
        axes.plot(curve.tokens, curve.mean, color=colour[name])
        late = curve.tokens >= SETTLED * end
        settled += [low[late].min(), high[late].max()]
    spread = max(settled) - min(settled) or 0.01 * abs(max(settled)) or 1.0
    axes.set_ylim(min(settled) - 0.06 * spread, max(settled) + 0.06 * spread)
    axes.set_xlim(0, end)
    axes.set_title(title)
    _token_axis(axes)
    axes.figure.draw_without_rendering()  # type: ignore[union-attr]
    ends = [(name, float(curve.mean[-1]), colour[name]) for name, curve in curves.items()]
    if zero:
        ends.append((zero, 0.0, colour[zero]))
    label_ends(axes, ends, end)


FIGURES: dict[str, tuple[Plot, str]] = {
    "differences": (forest, "Differences from the baseline with 95 % intervals; small dots are single seeds."),
    "seeds": (seeds, "Every run, best arm first. Bars are means; lines join the runs of one seed."),
    "learning": (learning, "Over training: means over seeds, bands from the lowest to the highest seed."),
    "training_loss": (
        training_loss,
        "Training loss, exponentially smoothed: means over seeds, bands from lowest to highest.",
    ),
    "alpha": (alpha, "α over training, mean over seeds, one line a layer, darker with depth."),
    "learning_rates": (
        learning_rates,
        "What each learning rate gave in tuning. Small dots are single seeds, a ring marks the rate the arm was given.",
    ),
    "cost": (cost, "What the result costs. Small dots are single seeds."),
}
"""Every figure by its file name, with its caption."""
