"""The ranking of any runs, for the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gatewright.study.analysis import Analysis
from gatewright.study.checks import FLOPS_TOLERANCE, PARAMETERS_TOLERANCE
from gatewright.study.compare import RunComparison
from gatewright.study.gather import ArmResult
from gatewright.study.wording import (
    VERDICT_LABELS,
    VERDICT_STYLES,
    count,
    difference_text,
    metric_value,
    number,
    p_number,
    percent,
    sentence,
)

ONE_TABLE = 130
"""Characters from which on results and costs stand in one table."""


MOST_SETTINGS = 6


class Column(NamedTuple):
    """A column: its title, and its cell for an arm."""

    title: str
    cell: Callable[[ArmResult], str | Text]


def ranking(compared: RunComparison, width: int) -> RenderableType:
    """Arms from best to worst with their costs, every verdict as a sentence, warnings, and what was left out."""
    analysis = compared.analysis
    metric, baseline = analysis.study.judged_by, analysis.study.baseline
    results = [
        Column("n", lambda arm: str(arm.n)),
        Column(metric.label, _value),
        Column("against baseline", lambda arm: difference_text(c) if (c := analysis.comparison(arm.name)) else ""),
        Column("Holm p", lambda arm: p_number(c.p_adjusted) if (c := analysis.comparison(arm.name)) else ""),
        Column("verdict", lambda arm: _verdict(analysis, arm)),
    ]
    costs = [
        Column("parameters", lambda arm: _beside(arm, analysis, "parameters", PARAMETERS_TOLERANCE)),
        Column("FLOPs/token", lambda arm: _beside(arm, analysis, "flops_per_token", FLOPS_TOLERANCE)),
        Column("tok/s", lambda arm: count(arm.tokens_per_second)),
    ]
    runs = sum(len(arm.trials) for arm in analysis.arms.values())
    title = f"{runs} {'run' if runs == 1 else 'runs'} by {metric.label}, {metric.direction} is better"
    tables: list[RenderableType]
    if width >= ONE_TABLE:
        tables = [_table(title, analysis, [*results[:2], *costs, *results[2:]])]
    else:
        tables = [_table(title, analysis, results), Text(), _table("cost", analysis, costs)]
    lines = [Text(sentence(c, metric)) for c in analysis.comparisons]
    if len(analysis.arms) == 1:
        lines.append(Text("All runs are of one design: there is nothing to compare it with."))
    else:
        differing = [Text(line, style="dim") for arm in analysis.ranking if (line := _settings(arm, baseline))]
        lines = [Text(f"baseline: {baseline} ({compared.because})", style="dim"), *differing, *lines]
    warnings = [Text(f"! {remark.text}", style="yellow") for remark in analysis.remarks if remark.level == "warning"]
    left_out = [Text(f"left out: {path}: {because}", style="yellow") for path, because in compared.left_out]
    return Group(*tables, Text(), *lines, *warnings, *left_out)


def _table(title: str, analysis: Analysis, columns: list[Column]) -> Table:
    table = Table(title=Text(title, style="bold"), title_justify="left", header_style="dim",
                  box=None, pad_edge=False, padding=(0, 2, 0, 0))  # fmt: skip
    table.add_column("arm", overflow="fold")
    for column in columns:
        table.add_column(column.title, justify="left" if column.title == "verdict" else "right", no_wrap=True)
    for arm in analysis.ranking:
        table.add_row(Text(arm.name), *(column.cell(arm) for column in columns))
    return table


def _settings(arm: ArmResult, baseline: str) -> str:
    """What sets an arm apart from the baseline; nothing for the baseline itself."""
    more = [f"and {len(arm.overrides) - MOST_SETTINGS} more"] if len(arm.overrides) > MOST_SETTINGS else []
    said = ", ".join([*arm.overrides[:MOST_SETTINGS], *more])
    return f"{arm.name} differs from {baseline} in {said}" if said else ""


def _value(arm: ArmResult) -> str:
    return metric_value(arm.mean) + (f" ± {number(arm.sd, 2)}" if arm.sd is not None else "")


def _verdict(analysis: Analysis, arm: ArmResult) -> Text:
    comparison = analysis.comparison(arm.name)
    if comparison is None:
        return Text("baseline" if arm is analysis.baseline else "—", style="dim")
    return Text(VERDICT_LABELS[comparison.verdict], style=VERDICT_STYLES[comparison.verdict])


def _beside(arm: ArmResult, analysis: Analysis, key: str, tolerance: float) -> Text:
    """A cost and, below it, how far it is from the baseline's; marked where that is too far."""
    own, reference = arm.recorded(key), analysis.baseline.recorded(key)
    if own is None:
        return Text("—")
    shown = f"{own:,}" if key == "parameters" else count(own)
    if reference is None or own == reference:
        return Text(shown)
    share = own / reference - 1
    flag, style = ("! ", "yellow") if abs(share) > tolerance else ("", "dim")
    return Text.assemble(shown, (f"\n{flag}{percent(100 * share)}", style))
