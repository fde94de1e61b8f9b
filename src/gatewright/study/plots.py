"""The figures of a report: each function draws one in a given layout, or returns None if there is nothing to draw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from gatewright.study import series
from gatewright.study.analysis import Analysis
from gatewright.study.checks import FLOPS_TOLERANCE, PARAMETERS_TOLERANCE
from gatewright.study.drawing import (
    LOSS,
    REWARD,
    arm_colours,
    draw_curves,
    drawable,
    panels,
    room_for,
    to_scale,
    training_axis,
)
from gatewright.study.forest import forest
from gatewright.study.gather import ArmResult
from gatewright.study.listening import listening
from gatewright.study.path_picture import paths
from gatewright.study.series import Curves
from gatewright.study.style import MUTED, PAPER, Layout, label_ends, new_figure, spread_labels
from gatewright.study.wording import metric_value

Plot = Callable[[Analysis, Layout], Figure | None]

MOST_NAMED_SEEDS = 8


def learning(analysis: Analysis, layout: Layout) -> Figure | None:
    """The judged metric over training, and its paired difference from the baseline; bands span the seeds."""
    metric, baseline = analysis.study.judged_by, analysis.study.baseline
    if metric.record_key is None:
        return None
    curves = drawable(
        {name: series.evaluations(arm, metric.record_key, analysis.axis) for name, arm in analysis.arms.items()}
    )
    if not curves:
        return None
    relative = not analysis.rewarded  # few percent of an accuracy near 0 are nothing
    paired = drawable(
        {
            name: curve.against(curves[baseline], relative=relative)
            for name, curve in curves.items()
            if name != baseline and baseline in curves
        }
    )
    figure, both = panels(layout, 1 + bool(paired), room_for(curves, 3.0))
    draw_curves(both[0], curves, analysis, metric.label.capitalize())
    if paired:
        both[1].axhline(0, color=MUTED, lw=1)
        draw_curves(
            both[1], paired, analysis, f"Difference from {baseline}, {'%' if relative else 'points'}", zero=baseline
        )
    return figure


def training_loss(analysis: Analysis, layout: Layout) -> Figure | None:
    """Training loss, smoothed; bands span the seeds."""
    return None if analysis.rewarded else _training(analysis, layout, "loss", LOSS)


def training_reward(analysis: Analysis, layout: Layout) -> Figure | None:
    """Mean reward of the paths learned from, smoothed, in place of a loss that says nothing; bands span the seeds."""
    return _training(analysis, layout, "reward", REWARD) if analysis.rewarded else None


def _training(analysis: Analysis, layout: Layout, key: str, title: str) -> Figure | None:
    curves = drawable({name: series.training(arm, key, analysis.axis) for name, arm in analysis.arms.items()})
    if not curves:
        return None
    figure, (axes,) = panels(layout, 1, room_for(curves, 2.9))
    draw_curves(axes, curves, analysis, title)
    return figure


def seeds(analysis: Analysis, layout: Layout) -> Figure | None:
    """Every run's result, one column an arm; lines join the runs of one seed."""
    ranked = [arm for arm in analysis.ranking if arm.n]
    if len(ranked) < 2:
        return None
    colour = arm_colours(analysis)
    figure = new_figure(layout, 2.9)
    axes = figure.add_subplot()
    ends, held = [], to_scale(analysis, [arm.name for arm in ranked])
    joined = [(x, arm) for x, arm in enumerate(ranked) if arm.name in held]
    for seed in [seed for seed in analysis.study.seeds if any(seed in arm.values for _, arm in joined)]:
        line = [(x, arm.values[seed]) for x, arm in joined if seed in arm.values]
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
    _hold_runs(axes, ranked, analysis)
    axes.grid(axis="x", visible=False)
    axes.set_title(f"{analysis.study.judged_by.label.capitalize()} of every run")
    figure.draw_without_rendering()
    if len(ends) <= MOST_NAMED_SEEDS:
        label_ends(axes, ends, joined[-1][0])
    return figure


def _hold_runs(axes: Axes, ranked: list[ArmResult], analysis: Analysis) -> None:
    """The same for the runs of every arm: what lies outside is told as a number at the edge."""
    held = to_scale(analysis, [arm.name for arm in ranked])
    if len(held) == len(ranked):
        return
    seen = [value for arm in ranked if arm.name in held for value in arm.values.values()]
    low, high = min(seen), max(seen)
    room = 0.08 * (high - low) or 0.01 * abs(high) or 1.0
    axes.set_ylim(low - 2 * room, high + room)
    for x, arm in enumerate(ranked):
        mean = arm.mean or 0.0
        if not low - 2 * room <= mean <= high + room:
            below = mean < low
            axes.annotate(
                f"{'↓' if below else '↑'} {metric_value(mean)}", (x, 0 if below else 1), (0, 4 if below else -4),
                xycoords=axes.get_xaxis_transform(), textcoords="offset points", ha="center",
                va="bottom" if below else "top", color=arm_colours(analysis)[arm.name], fontsize=8.5,
            )  # fmt: skip


def alpha(analysis: Analysis, layout: Layout) -> Figure | None:
    """α over training, mean over seeds, one line a layer (light to dark with depth), for arms whose α moves."""
    moving = {name: series.alphas(arm, analysis.axis) for name, arm in analysis.arms.items()}
    moving = {name: layers for name, layers in moving.items() if any(_moves(curve) for curve in layers.values())}
    if not moving:
        return None
    columns = 1 if layout.stacked else min(2, len(moving))
    rows = -(-len(moving) // columns)
    figure = new_figure(layout, 0.3 + 2.3 * rows)
    colour = arm_colours(analysis)
    for place, (name, layers) in enumerate(moving.items(), start=1):
        axes = figure.add_subplot(rows, columns, place)
        drawn = {layer: curve for layer, curve in layers.items() if curve}
        for depth, curve in enumerate(drawn.values()):
            strength = 0.35 + 0.65 * depth / max(len(drawn) - 1, 1)
            axes.plot(curve.x, curve.mean, color=colour[name], alpha=strength, lw=1.6)
        axes.set_ylim(-0.03, 1.03)
        axes.set_title(f"α of {name}")
        training_axis(axes, analysis.axis)
        figure.draw_without_rendering()
        last = {layer: curve for layer, curve in drawn.items() if layer in (next(iter(drawn)), list(drawn)[-1])}
        ends = [
            (f"layer {layer}" if layer.isdigit() else layer, curve.mean[-1], colour[name])
            for layer, curve in last.items()
        ]
        label_ends(axes, ends, max(curve.x[-1] for curve in last.values()))
    return figure


def learning_rates(analysis: Analysis, layout: Layout) -> Figure | None:
    """The metric against the learning rate, one line an arm through its means; a ring marks the rate it got."""
    chosen = [choice for choice in analysis.choices.values() if choice.means]
    if not chosen:
        return None
    figure, (axes,) = panels(layout, 1, 2.9)
    colour = arm_colours(analysis)
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
    figure, places = panels(layout, len(axes_of), 2.7)
    colour = arm_colours(analysis)
    for axes, (key, label) in zip(places, axes_of, strict=True):
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


FIGURES: dict[str, tuple[Plot, str]] = {
    "differences": (forest, "Differences from the baseline with 95 % intervals; small dots are single seeds."),
    "seeds": (seeds, "Every run, best arm first. Bars are means; lines join the runs of one seed."),
    "learning": (learning, "Over training: means over seeds, bands from the lowest to the highest seed."),
    "training_loss": (
        training_loss,
        "Training loss, exponentially smoothed: means over seeds, bands from lowest to highest.",
    ),
    "training_reward": (
        training_reward,
        "Mean reward of the paths learned from, exponentially smoothed: means over seeds, bands from lowest to "
        "highest.",
    ),
    "listening": (
        listening,
        "What paths hear of one another, smoothed: means over seeds, bands from the lowest to the highest. An arm in "
        "which nobody listens shows the attention that cosine similarity would pay; curves that stay at 0 are left "
        "out.",
    ),
    "paths": (
        paths,
        "Who listens to whom, on a held-out question. Each row is a path, each column the tokens drawn at one place; "
        "where paths differ, colours tell the tokens apart. A ribbon runs from the path that is heard to the one that "
        "takes it in before its next token. It is as wide as the attention, and coloured where the heard path had "
        "drawn another token.",
    ),
    "alpha": (alpha, "α over training, mean over seeds, one line a layer, darker with depth."),
    "learning_rates": (
        learning_rates,
        "What each learning rate gave in tuning. Small dots are single seeds, a ring marks the rate the arm was given.",
    ),
    "cost": (cost, "What the result costs. Small dots are single seeds."),
}
"""Every figure by its file name, with its caption."""
