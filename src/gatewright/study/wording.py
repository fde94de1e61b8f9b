"""Numbers and verdicts in words, the same in the terminal, the report and the JSON."""

from __future__ import annotations

import math

from gatewright.study.metric import Metric
from gatewright.study.statistics import Comparison

MINUS = "\u2212"


def number(value: float | None, digits: int = 4) -> str:
    """``value`` to ``digits`` significant digits without exponent; an em dash for None."""
    if value is None:
        return "—"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-", MINUS)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace("-", MINUS)


def metric_value(value: float | None) -> str:
    """A loss, perplexity or accuracy: four decimals below 10, else four significant digits."""
    if value is None:
        return "—"
    return f"{value:.4f}".replace("-", MINUS) if abs(value) < 10 else number(value, 5)


def count(value: float | None) -> str:
    """A large number for reading: ``1.06 M``, ``30.1 k``."""
    if value is None:
        return "—"
    for size, unit in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{number(value / size, 3)} {unit}"
    return number(value, 3)


def p_text(p: float | None) -> str:
    """``p = 0.012``, ``p < 0.001``; an em dash for None."""
    return "—" if p is None else f"p {_p_relation(p)}"


def _p_relation(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.0995 else f"= {p:.2f}"


def p_number(p: float | None) -> str:
    """The same without the ``p``, for a table's column: ``0.012``, ``< 0.001``."""
    return "—" if p is None else _p_relation(p).removeprefix("= ")


def percent(value: float, *, sign: bool = True, like: float | None = None) -> str:
    """A percentage with two significant digits (of ``like``, where the digits of an uncertainty decide): ``+2.2 %``."""
    reference = abs(like if like else value)
    decimals = 1 if not reference else min(4, max(0, 1 - math.floor(math.log10(reference))))
    return f"{value:{'+' if sign else ''}.{decimals}f} %".replace("-", MINUS)


def difference_text(c: Comparison) -> str:
    """The difference and half its interval, relative to the baseline: ``+2.2 % ± 0.3 %``."""
    if c.ci95 is None or c.ci95[0] == c.ci95[1]:
        return percent(c.percent(c.mean_difference))
    half = c.percent((c.ci95[1] - c.ci95[0]) / 2)
    return f"{percent(c.percent(c.mean_difference), like=half)} ± {percent(half, sign=False)}"


def evidence(c: Comparison) -> str:
    """What the verdict rests on: ``(n = 3, Holm p = 0.004)``."""
    words = [f"n = {c.n}"]
    if c.verdict == "equivalent" and c.p_equivalence_adjusted is not None:
        words.append(f"equivalence {p_text(c.p_equivalence_adjusted)}")
    elif c.p_adjusted is not None:
        words.append(f"Holm {p_text(c.p_adjusted)}")
    return f"({', '.join(words)})"


def sentence(c: Comparison, metric: Metric) -> str:
    """The verdict as one plain sentence."""
    half = None if c.ci95 is None else c.percent((c.ci95[1] - c.ci95[0]) / 2)
    size = percent(abs(c.percent(c.mean_difference)), sign=False, like=half)
    spread = f" ± {percent(half, sign=False)}" if half else ""
    way = "higher" if c.mean_difference > 0 else "lower"
    if c.verdict in ("better", "worse"):
        small = ", a difference inside the equivalence margin" if c.within_margin else ""
        return f"{c.arm} is {c.verdict} than {c.baseline}: {metric.label} {size}{spread} {way}{small} {evidence(c)}."
    if c.verdict == "equivalent":
        margin = percent(c.percent(c.margin or 0.0), sign=False)
        return (
            f"{c.arm} is equivalent to {c.baseline}: the {metric.label} differs by less than {margin} "
            f"(measured {difference_text(c)}) {evidence(c)}."
        )
    if c.verdict == "inconclusive":
        return (
            f"{c.arm} against {c.baseline} is open: {metric.label} {difference_text(c)} {evidence(c)}; "
            "neither a difference nor equivalence is shown."
        )
    return f"{c.arm} against {c.baseline}: no verdict from one seed ({metric.label} {difference_text(c)})."
