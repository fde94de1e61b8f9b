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
"""The most values a quantity brings into the page, about 0.4 MB; curves with more are thinned evenly."""

Line = tuple[str, Curves, dict[str, Any]]


def explorer_data(analysis: Analysis) -> dict[str, Any] | None:
    """Every quantity that has curves, for the explorer; None if there is none.

    A quantity is ``{label, unit, settled, lines}``; a line ``{name, look, tokens, seeds, values}`` with ``values[s][i]``
    of seed ``seeds[s]`` at ``tokens[i]``, to six significant digits. ``look`` holds the line's SVG attributes. The scale
    leaves out the first share ``settled`` of training, as the figures do.
    """
    study, arms = analysis.study, analysis.arms
    metric = study.judged_by if study.judged_by.record_key else METRICS["val_loss"]
    colour = colours(list(arms), study.baseline)
    others = [name for name in arms if name != study.baseline]
    looks = {
        name: {"colour": colour[name][1:], "dash": others.index(name) // len(ARM_COLOURS) if name in others else 0}
        for name in arms
    }
    judged = {name: series.evaluations(arm, metric.record_key or "") for name, arm in arms.items()}
    differences = {name: judged[name].against(judged[study.baseline]) for name in others}
    losses = {name: series.training(arm) for name, arm in arms.items()}
    label = metric.label[0].upper() + metric.label[1:]
    quantities = [
        _quantity(label, [(name, curve, looks[name]) for name, curve in judged.items()]),
        _quantity(
            f"{label}, difference from {study.baseline}",
            [(name, curve, looks[name]) for name, curve in differences.items()],
            unit="%",
        ),
        _quantity("Training loss, smoothed", [(name, curve, looks[name]) for name, curve in losses.items()]),
    ]
    for name, arm in arms.items():
        layers = series.alphas(arm)
        if any(np.ptp(curve.values) > 0 for curve in layers.values() if curve):
            depth = np.linspace(0.35, 1, len(layers))
            lines: list[Line] = [
                (f"layer {layer}" if layer.isdigit() else layer, curve, {**looks[name], "strength": float(strength)})
                for (layer, curve), strength in zip(layers.items(), depth, strict=True)
            ]
            quantities.append(_quantity(f"α of {name}", lines, settled=0.0))
    drawn = [quantity for quantity in quantities if quantity["lines"]]
    return {"quantities": drawn} if drawn else None


def _quantity(label: str, lines: list[Line], *, unit: str = "", settled: float = SETTLED) -> dict[str, Any]:
    finite = [(name, _finite(curve), look) for name, curve, look in lines]
    drawn = [(name, curve, look) for name, curve, look in finite if curve and len(curve.tokens) > 1]
    most = MOST_NUMBERS // max(sum(len(curve.seeds) for _, curve, _ in drawn), 1)
    return {
        "label": label,
        "unit": unit,
        "settled": settled,
        "lines": [{"name": name, "strength": 1.0, **look, **_numbers(curve, most)} for name, curve, look in drawn],
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
