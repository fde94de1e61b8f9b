"""The numbers behind the report's interactive curves: what ``templates/explorer.js`` draws, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewright.study import series
from gatewright.study.analysis import Analysis
from gatewright.study.metric import METRICS
from gatewright.study.plots import SETTLED
from gatewright.study.series import Curves
from gatewright.study.style import ARM_COLOURS, colours

MOST_NUMBERS = 50_000
"""The most numbers of one quantity in the page, about 0.4 MB; α of all arms is one. Longer curves are thinned."""

DASHES = ("7 4", "2 3")
"""How the lines are drawn of arms that share a colour with an earlier one."""

Line = tuple[str, Curves, dict[str, Any]]


def explorer_data(analysis: Analysis) -> dict[str, Any] | None:
    """Every quantity that has curves, for the explorer; None if there is none.

    A quantity is ``{label, unit, settled, lines}``; its scale passes over the first share ``settled`` of training, as
    in the figures. A line is ``{name, look, tokens, seeds, values}`` with ``values[s][i]`` of seed ``seeds[s]`` at
    ``tokens[i]``, to six significant digits; ``look`` holds its SVG attributes.
    """
    study, arms = analysis.study, analysis.arms
    metric = study.judged_by if study.judged_by.record_key else METRICS["val_loss"]
    looks = _looks(list(arms), study.baseline)
    judged = {name: series.evaluations(arm, metric.record_key or "") for name, arm in arms.items()}
    with np.errstate(divide="ignore", invalid="ignore"):  # a baseline may score nothing; see `_finite`
        differences = {
            name: curve.against(judged[study.baseline]) for name, curve in judged.items() if name != study.baseline
        }
    label = metric.label[0].upper() + metric.label[1:]
    by_arm = [
        (label, "", judged),
        (f"{label}: difference from {study.baseline}, %", "%", differences),
        ("Training loss, smoothed", "", {name: series.training(arm) for name, arm in arms.items()}),
    ]
    quantities = [
        _quantity(what, [(name, curve, looks[name]) for name, curve in curves.items()], unit=unit)
        for what, unit, curves in by_arm
    ]
    moving = {name: layers for name, arm in arms.items() if _any_moves(layers := series.alphas(arm))}
    for name, layers in moving.items():
        strength = np.linspace(0.35, 1, len(layers)).round(3).tolist()  # darker with depth
        lines: list[Line] = [
            (f"layer {layer}" if layer.isdigit() else layer, curve, {**looks[name], "stroke-opacity": opacity})
            for (layer, curve), opacity in zip(layers.items(), strength, strict=True)
        ]
        quantities.append(_quantity(f"α of {name}", lines, settled=0.0, share=1 / len(moving)))
    drawn = [quantity for quantity in quantities if quantity["lines"]]
    return {"quantities": drawn} if drawn else None


def _looks(arms: list[str], baseline: str) -> dict[str, dict[str, Any]]:
    """SVG attributes by arm: its colour in this page, and dashes where the palette has begun again."""
    colour, others = colours(arms, baseline), [arm for arm in arms if arm != baseline]
    looks = {arm: {"stroke": f"var(--{colour[arm][1:]})"} for arm in arms}
    for place, arm in enumerate(others):
        if place >= len(ARM_COLOURS):
            looks[arm]["stroke-dasharray"] = DASHES[(place // len(ARM_COLOURS) - 1) % len(DASHES)]
    return looks


def _any_moves(layers: dict[str, Curves]) -> bool:
    return any(np.ptp(curve.values) > 0 for curve in layers.values() if curve)


def _quantity(
    label: str, lines: list[Line], *, unit: str = "", settled: float = SETTLED, share: float = 1.0
) -> dict[str, Any]:
    finite = [(name, _finite(curve), look) for name, curve, look in lines]
    drawn = [(name, curve, look) for name, curve, look in finite if curve and len(curve.tokens) > 1]
    most = int(share * MOST_NUMBERS / max(sum(len(curve.seeds) + 1 for _, curve, _ in drawn), 1))  # and its tokens
    return {
        "label": label,
        "unit": unit,
        "settled": settled,
        "lines": [{"name": name, "look": look, **_numbers(curve, most)} for name, curve, look in drawn],
    }


def _finite(curve: Curves) -> Curves:
    """The curve where every seed's value is finite: a percentage of zero is not, and JSON has no infinity."""
    kept = np.isfinite(curve.values).all(axis=0)
    return Curves(curve.tokens[kept], curve.seeds, curve.values[:, kept])


def _numbers(curve: Curves, most: int) -> dict[str, Any]:
    """The curve at ``most`` or fewer of its tokens, evenly spread, the first and the last among them."""
    last = len(curve.tokens) - 1
    kept = np.unique(np.linspace(0, last, min(max(most, 2), last + 1)).round().astype(int))
    return {
        "tokens": [int(tokens) for tokens in curve.tokens[kept]],
        "seeds": curve.seeds,
        "values": [[float(f"{value:.6g}") for value in row] for row in curve.values[:, kept]],
    }
