"""The numbers behind the report's interactive curves: what ``templates/explorer.js`` draws, ready for JSON."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewright.study import series
from gatewright.study.analysis import Analysis
from gatewright.study.drawing import AXIS_LABELS, LOSS, REWARD, arm_dashes, settled, to_scale
from gatewright.study.listening import QUANTITIES
from gatewright.study.metric import METRICS
from gatewright.study.series import Axis, Curves
from gatewright.study.style import colours

MOST_NUMBERS = 50_000
"""The most numbers of one quantity in the page, about 0.4 MB; α of all arms is one. Longer curves are thinned."""

AXIS_WORDS: dict[Axis, dict[str, str]] = {
    "tokens": {"label": AXIS_LABELS["tokens"], "before": "", "after": " tokens"},
    "step": {"label": AXIS_LABELS["step"], "before": "step ", "after": ""},
}
"""What the axis is called, and what stands around a place on it."""

Line = tuple[str, Curves, dict[str, Any]]


def explorer_data(analysis: Analysis) -> dict[str, Any] | None:
    """Every quantity that has curves, for the explorer; None if there is none.

    A quantity is ``{label, unit, settled, lines}``; its scale passes over the first share ``settled`` of training, as
    in the figures. A line is ``{name, look, x, seeds, values}`` with ``values[s][i]`` of seed ``seeds[s]`` at ``x[i]``,
    to six significant digits; ``look`` holds its SVG attributes. ``axis`` has the words for x, `AXIS_WORDS`;
    ``aside`` names the arms that are hidden until they are asked for.
    """
    study, arms, axis, rewarded = analysis.study, analysis.arms, analysis.axis, analysis.rewarded
    fallback = METRICS["val_accuracy" if rewarded else "val_loss"]
    metric = study.judged_by if study.judged_by.record_key else fallback
    looks = _looks(list(arms), study.baseline)
    judged = {name: series.evaluations(arm, metric.record_key or "", axis) for name, arm in arms.items()}
    differences = {
        name: curve.against(judged[study.baseline], relative=not rewarded)
        for name, curve in judged.items()
        if name != study.baseline
    }
    label, unit = metric.label[0].upper() + metric.label[1:], "points" if rewarded else "%"
    by_arm = [(label, "", judged), (f"{label}: difference from {study.baseline}, {unit}", unit, differences)]
    recorded = {"reward": REWARD, **QUANTITIES} if rewarded else {"loss": LOSS}
    by_arm += [
        (what, "", {name: series.training(arm, key, axis) for name, arm in arms.items()})
        for key, what in recorded.items()
    ]
    quantities = [
        _quantity(what, [(name, curve, looks[name]) for name, curve in curves.items()], unit, settled(analysis))
        for what, unit, curves in by_arm
    ]
    moving = {name: layers for name, arm in arms.items() if _any_moves(layers := series.alphas(arm, axis))}
    for name, layers in moving.items():
        strength = np.linspace(0.35, 1, len(layers)).round(3).tolist()  # darker with depth
        lines: list[Line] = [
            (f"layer {layer}" if layer.isdigit() else layer, curve, {**looks[name], "stroke-opacity": opacity})
            for (layer, curve), opacity in zip(layers.items(), strength, strict=True)
        ]
        quantities.append(_quantity(f"α of {name}", lines, share=1 / len(moving)))
    drawn = [quantity for quantity in quantities if quantity["lines"]]
    if not drawn:
        return None
    shown = to_scale(analysis, arms)
    return {"axis": AXIS_WORDS[axis], "aside": [arm for arm in arms if arm not in shown], "quantities": drawn}


def _looks(arms: list[str], baseline: str) -> dict[str, dict[str, Any]]:
    """SVG attributes by arm: its colour in this page, and dashes where the palette has begun again."""
    dashes = arm_dashes(arms, baseline)
    return {
        arm: {"stroke": f"var(--{colour[1:]})"}
        | ({"stroke-dasharray": " ".join(map(str, dashes[arm]))} if arm in dashes else {})
        for arm, colour in colours(arms, baseline).items()
    }


def _any_moves(layers: dict[str, Curves]) -> bool:
    return any(np.ptp(curve.values) > 0 for curve in layers.values() if curve)


def _quantity(
    label: str, lines: list[Line], unit: str = "", settled: float = 0.0, *, share: float = 1.0
) -> dict[str, Any]:
    drawn = [(name, curve, look) for name, curve, look in lines if curve and len(curve.x) > 1]
    most = int(share * MOST_NUMBERS / max(sum(len(curve.seeds) + 1 for _, curve, _ in drawn), 1))  # and its places
    return {
        "label": label,
        "unit": unit,
        "settled": settled,
        "lines": [{"name": name, "look": look, **_numbers(curve, most)} for name, curve, look in drawn],
    }


def _numbers(curve: Curves, most: int) -> dict[str, Any]:
    """The curve at ``most`` or fewer of its places, evenly spread, the first and the last among them."""
    last = len(curve.x) - 1
    kept = np.unique(np.linspace(0, last, min(max(most, 2), last + 1)).round().astype(int))
    return {
        "x": [int(place) for place in curve.x[kept]],
        "seeds": curve.seeds,
        "values": [[float(f"{value:.6g}") for value in row] for row in curve.values[:, kept]],
    }
