"""The figures of a report. Each function draws one figure in a given layout, or returns None if there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator

from gatewright.study import series
from gatewright.study.analyse import Analysis
from gatewright.study.checks import FLOPS_TOLERANCE, PARAMETERS_TOLERANCE
from gatewright.study.series import Curves
from gatewright.study.style import GRID, INK, MUTED, PAPER, Layout, colours, label_ends, new_figure
from gatewright.study.wording import difference_text

Plot = Callable[[Analysis, Layout], Figure | None]

SETTLED = 0.15
"""The first share of training, whose steep descent is left out of a curve's scale."""


def forest(analysis: Analysis, layout: Layout) -> Figure | None:
    """Differences from the baseline in percent with 95 % intervals, each seed's difference, and the margin."""
    if not analysis.comparisons:
        return None
    rows = sorted(analysis.comparisons, key=lambda c: c.mean_difference, reverse=analysis.study.judged_by.lower_is_better)
    colour = _colours(analysis)
    figure = new_figure(layout, 0.75 + 0.58 * len(rows))
    axes = figure.add_subplot()
    baseline = analysis.baseline
    for y, c in enumerate(rows):
        values = analysis.arms[c.arm].values
        own = [values[s] - baseline.values[s] for s in values if s in baseline.values]
        axes.scatter(
            [c.percent(d) for d in own], [y - 0.2] * len(own), s=13, color=colour[c.arm], alpha=0.55, linewidths=0, zorder=3
        )
        if c.ci95 is not None:
            axes.plot([c.percent(v) for v in c.ci95], [y, y], color=colour[c.arm], lw=2.4, zorder=3)
        axes.scatter([c.percent(c.mean_difference)], [y], s=46, color=colour[c.arm], edgecolor=PAPER, linewidth=1.2, zorder=4)
        place = {"xycoords": axes.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
        verdict = "one seed" if c.verdict == "none" else c.verdict
        if layout.stacked:
            axes.annotate(c.arm, (0, y + 0.34), (0, 0), ha="left", color=colour[c.arm], fontweight="bold", **place)
            axes.annotate(f"{difference_text(c)}  {verdict}", (1, y + 0.34), (0, 0), ha="right", fontsize=8.5, **place)
        else:
            axes.annotate(difference_text(c), (1, y), (104, 0), ha="right", **place)
            axes.annotate(verdict, (1, y), (114, 0), ha="left", fontweight="bold", color=colour[c.arm], **place)
    margin = analysis.study.equivalence_margin
    if margin is not None:
        axes.axvspan(-100 * margin, 100 * margin, color=GRID, alpha=0.55, lw=0, zorder=0)
    axes.axvline(0, color=MUTED, lw=1, zorder=1)
    axes.set_ylim(-0.55, len(rows) - (0.35 if layout.stacked else 0.5))
    axes.set_yticks(range(len(rows)), ["" if layout.stacked else c.arm for c in rows])
    for tick, c in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(colour[c.arm])
        tick.set_fontweight("bold")
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:+g}".replace("-", "\u2212") if x else "0"))
    axes.xaxis.set_major_locator(MaxNLocator(5 if layout.stacked else 8))
    sides = ("better", "worse") if analysis.study.judged_by.lower_is_better else ("worse", "better")
    shaded = f"; shaded: ±{100 * margin:g} %" if margin is not None else ""
    axes.set_xlabel(f"← {sides[0]}      difference from {baseline.name}, %{shaded}      {sides[1]} →")
    if not layout.stacked:
        figure.get_layout_engine().set(rect=(0, 0, 0.745, 1))  # type: ignore[union-attr]
    return figure


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
        _draw_curves(panels[1], paired, analysis, f"Difference from {analysis.study.baseline}, %", zero=analysis.study.baseline)
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
    for seed in analysis.study.seeds:
        line = [(x, arm.values[seed]) for x, arm in enumerate(ranked) if seed in arm.values]
        axes.plot([x for x, _ in line], [y for _, y in line], color=MUTED, lw=0.8, alpha=0.6, zorder=1)
        if line:
            axes.annotate(f"seed {seed}", line[-1], (9, 0), textcoords="offset points", va="center", fontsize=7.5, color=MUTED)
    for x, arm in enumerate(ranked):
        axes.scatter([x] * arm.n, list(arm.values.values()), s=30, color=colour[arm.name], edgecolor=PAPER, linewidth=0.8, zorder=3)
        axes.plot([x - 0.16, x + 0.16], [arm.mean, arm.mean], color=colour[arm.name], lw=2.2, zorder=2)
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
        ends = [(f"layer {layer}" if layer.isdigit() else layer, curve.mean[-1], colour[name]) for layer, curve in last.items()]
        label_ends(axes, ends, max(curve.tokens[-1] for curve in last.values()))
    return figure


def cost(analysis: Analysis, layout: Layout) -> Figure | None:
    """The metric against parameters and FLOPs per token, where arms differ in them by more than the tolerances."""
    arms = [arm for arm in analysis.arms.values() if arm.n and arm.recorded("parameters") and arm.recorded("flops_per_token")]
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
            axes.scatter([arm.recorded(key)], [arm.mean], s=46, color=colour[arm.name], edgecolor=PAPER, linewidth=1.2, zorder=3)
            axes.annotate(arm.name, (arm.recorded(key), arm.mean), (7, 5), textcoords="offset points", color=colour[arm.name], fontsize=8.5)
        axes.margins(x=0.25)
        axes.set_title(f"{analysis.study.judged_by.label.capitalize()} against {label}")
        axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
        axes.xaxis.set_major_locator(MaxNLocator(4))
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
    spread = max(settled) - min(settled)
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
    "training_loss": (training_loss, "Training loss, exponentially smoothed: means over seeds, bands from lowest to highest."),
    "alpha": (alpha, "α over training, mean over seeds, one line a layer, darker with depth."),
    "cost": (cost, "What the result costs. Small dots are single seeds."),
}
"""Every figure by its file name, with its caption."""
