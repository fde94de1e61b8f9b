"""Numbers and verdicts in words, the same in the terminal, the report and the JSON."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from gatewright.study.metric import Metric
from gatewright.study.statistics import Comparison

MINUS = "\u2212"


def number(value: float | None, digits: int = 4) -> str:
    """``value`` to ``digits`` significant digits without exponent; an em dash for None."""
    if value is None:
        return "—"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}".replace("-", MINUS)
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])  # of the rounded value: 0.9999 may become 1.00
    decimals = max(0, digits - 1 - exponent)
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
        if abs(value) >= 0.9995 * size:  # 999,900 is 1.00 M, not 1,000 k
            return f"{number(value / size, 3)} {unit}"
    return number(value, 3)


def duration(seconds: float) -> str:
    """A time for reading: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def p_text(p: float | None) -> str:
    """``p = 0.012``, ``p < 0.001``; an em dash for None."""
    return "—" if p is None else f"p {_p_relation(p)}"


def _p_relation(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"= {p:.3f}" if p < 0.0995 else f"= {p:.2f}"


def p_number(p: float | None) -> str:
    """The same without the ``p``, for a table's column: ``0.012``, ``< 0.001``."""
    return "—" if p is None else _p_relation(p).removeprefix("= ")


def percent(value: float, *, sign: bool = True, like: float | None = None) -> str:
    """A percentage, ``+2.26 %``, with the decimals that an uncertainty ``like`` (or the value itself) deserves."""
    if not math.isfinite(value):
        return "—"
    reference = abs(value if like is None else like)
    decimals = 1 if reference >= 1 else 2 if reference >= 0.02 or reference == 0 else 3 if reference >= 0.002 else 4
    return f"{value:{'+' if sign else ''}.{decimals}f} %".replace("-", MINUS)


def difference_text(c: Comparison) -> str:
    """The difference and its interval, relative to the baseline: ``+2.2 % ± 0.3 %``."""
    if c.ci95 is None or c.ci95[0] == c.ci95[1]:
        return percent(c.percent(c.mean_difference))
    half = c.percent((c.ci95[1] - c.ci95[0]) / 2)
    return f"{percent(c.percent(c.mean_difference), like=half)}{_spread(c)}"


def _spread(c: Comparison, *, size: bool = False) -> str:
    """The interval behind a difference: `` ± 0.3 %``, or both ends where it is not symmetric (a confidence sequence).

    With ``size`` it stands behind the size of the difference, whose direction is said in words.
    """
    if c.ci95 is None or c.ci95[0] == c.ci95[1]:
        return ""
    way = -1 if size and c.mean_difference < 0 else 1
    low, high = sorted(way * c.percent(end) for end in c.ci95)
    half = (high - low) / 2
    if abs((low + high) / 2 - way * c.percent(c.mean_difference)) < 1e-6 * half:
        return f" ± {percent(half, sign=False)}"
    return f" ({percent(low, sign=not size, like=half)} to {percent(high, sign=not size, like=half)})"


def interval_text(ends: tuple[float, float] | None) -> str:
    """An interval in the metric's units: ``[+0.0774, +0.0890]``; an em dash for None."""
    return "—" if ends is None else f"[{ends[0]:+.4f}, {ends[1]:+.4f}]".replace("-", MINUS)


def evidence(c: Comparison) -> str:
    """What the verdict rests on: ``(n = 3, Holm p = 0.004)``."""
    words = [f"n = {c.n}"]
    if c.verdict == "equivalent" and c.p_equivalence_adjusted is not None:
        words.append(f"equivalence {p_text(c.p_equivalence_adjusted)}")
    elif c.p_adjusted is not None:
        words.append(f"Holm {p_text(c.p_adjusted)}")
    return f"({', '.join(words)})"


def pair_name(c: Comparison, baseline: str) -> str:
    """What a comparison is called beside others: its arm, and the other one where that is not the study's baseline."""
    return c.arm if c.baseline == baseline else f"{c.arm} vs {c.baseline}"


def sentence(c: Comparison, metric: Metric) -> str:
    """The verdict as one plain sentence."""
    half = None if c.ci95 is None else c.percent((c.ci95[1] - c.ci95[0]) / 2)
    size = percent(abs(c.percent(c.mean_difference)), sign=False, like=half)
    spread = _spread(c, size=True)
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


def headline(comparisons: list[Comparison], baseline: str) -> str:
    """The whole study in one line: ``No arm is better than gelu: 3 are worse, 2 open.``

    Where arms are not all compared with the baseline, each shown difference is named.
    """
    named = {verdict: [c.arm for c in comparisons if c.verdict == verdict] for verdict in VERDICT_WORDS}
    if not comparisons:
        return "Nothing can be compared yet."
    if len(named["none"]) == len(comparisons):
        return "One seed allows no verdict."
    if any(c.baseline != baseline for c in comparisons):
        return _headline_of_pairs(comparisons)
    rest = [
        f"{len(named[verdict])} {words}"
        for verdict, words in (
            ("worse", "worse"),
            ("equivalent", "equivalent"),
            ("inconclusive", "open"),
            ("none", "without a verdict"),
        )
        if named[verdict]
    ]
    better = named["better"]
    if better:
        first = f"{join(better)} {'is' if len(better) == 1 else 'are'} better than {baseline}"
    elif len(comparisons) == 1:
        return f"{comparisons[0].arm} is {VERDICT_WORDS[comparisons[0].verdict]} {baseline}."
    else:
        first = f"No arm is shown to be better than {baseline}"
    return f"{first}{f': {join(rest)}' if rest else ''}."


def _headline_of_pairs(comparisons: list[Comparison]) -> str:
    shown: dict[tuple[str, str], list[str]] = {}
    for c in comparisons:
        if c.decided:
            shown.setdefault((c.verdict, c.baseline), []).append(c.arm)
    said = []
    for (verdict, baseline), arms in sorted(shown.items(), key=lambda group: -len(group[1])):
        who = join(arms) if len(arms) <= MOST_NAMED else f"{len(arms)} arms"
        said.append(f"{who} {'is' if len(arms) == 1 else 'are'} {VERDICT_WORDS[verdict]} {baseline}")
    left = sum(not c.decided for c in comparisons)
    if left:
        said.append(f"{left} of {len(comparisons)} comparisons {'is' if left == 1 else 'are'} open")
    return f"{'; '.join(said)}."


MOST_NAMED = 3
"""Arms that a headline names before it counts them."""

VERDICT_WORDS = {
    "better": "better than", "worse": "worse than", "equivalent": "equivalent to",
    "inconclusive": "neither shown to differ from nor to equal", "none": "not yet to be judged against",
}  # fmt: skip

VERDICT_LABELS = {
    "better": "better",
    "worse": "worse",
    "equivalent": "equivalent",
    "inconclusive": "open",
    "none": "no verdict",
}
VERDICT_STYLES = {"better": "green", "worse": "red", "equivalent": "blue", "inconclusive": "yellow", "none": "dim"}


def join(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def repeated(words: Sequence[str]) -> str:
    """``a 2 times and b`` of a, b and a, in the order of their first appearance."""
    return join([word if times == 1 else f"{word} {times} times" for word, times in Counter(words).items()])
