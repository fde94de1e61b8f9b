"""The report: one HTML file that needs nothing else, the same in Markdown, and the figures as PNG and PDF."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gatewright.files import write_atomic
from gatewright.study.analyse import Analysis, analyse
from gatewright.study.gather import ArmResult
from gatewright.study.plots import FIGURES
from gatewright.study.statistics import Comparison
from gatewright.study.style import DARK, NARROW, WIDE, colours, data_uri, house_style, pdf, png, settle, svg
from gatewright.study.trials import differences
from gatewright.study.wording import (
    MINUS,
    VERDICT_LABELS,
    count,
    difference_text,
    headline,
    metric_value,
    number,
    p_number,
    percent,
    sentence,
)

ENVIRONMENT_SHOWN = {
    "device_name": "device", "cpu": "processor", "logical_cores": "cores", "threads": "threads a run",
    "precision": "precision", "python": "Python", "platform": "platform", "git": "commit", "peak_flops": "peak FLOP/s",
    "peak_how": "peak is",
}  # fmt: skip
"""What of ``environment.json`` a reader wants to see, and what to call it."""


NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class DrawnFigure:
    """A figure for the page: for wide and narrow screens, with its caption."""

    name: str
    caption: str
    wide: str
    narrow: str


def write_report(path: str | Path) -> Path:
    """Analyse the study in folder ``path`` and write its whole report there; returns the path of ``report.html``.

    Also written: ``report.md``, ``results.json``, ``results.csv`` and ``figures/``. It may be called while trials are
    still running or missing; the report then says so. Raises `UserError` if ``path`` is not a study's folder.
    """
    return write_files(analyse(path))


def write_files(analysis: Analysis) -> Path:
    """Write the report of an analysis into its study's folder; returns the path of ``report.html``."""
    analysis.write()
    figures = draw(analysis)
    folder = analysis.folder.path
    write_atomic(folder / "report.md", render(analysis, figures, "report.md.j2"))
    write_atomic(folder / "report.html", render(analysis, figures, "report.html.j2"))
    return folder / "report.html"


def draw(analysis: Analysis) -> dict[str, DrawnFigure]:
    """Draw every figure there is something to draw in, and write PNG and PDF into the study's ``figures/``."""
    drawn = {}
    with house_style():
        for name, (plot, caption) in FIGURES.items():
            wide, narrow = plot(analysis, WIDE), plot(analysis, NARROW)
            if wide is None or narrow is None:
                continue
            settle(wide), settle(narrow)
            write_atomic(analysis.folder.figures / f"{name}.png", png(wide))
            write_atomic(analysis.folder.figures / f"{name}.pdf", pdf(wide))
            drawn[name] = DrawnFigure(name, caption, data_uri(svg(wide)), data_uri(svg(narrow)))
    return drawn


def render(analysis: Analysis, figures: dict[str, DrawnFigure], template: str) -> str:
    """The report as text, from one of the templates beside this module."""
    environment = Environment(
        loader=PackageLoader("gatewright.study", "templates"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _markdown_cell, "p": p_number, "interval": _interval, "unbroken": _unbroken}
    study = analysis.study
    return environment.get_template(template).render(
        study=study,
        metric=study.judged_by,
        analysis=analysis,
        headline=headline(analysis.comparisons, study.baseline),
        verdicts=[_verdict(c, analysis) for c in _by_interest(analysis)],
        warnings=[r.text for r in analysis.remarks if r.level == "warning"],
        notes=[r.text for r in analysis.remarks if r.level == "note"],
        rows=[_row(arm, analysis) for arm in analysis.ranking],
        sight=[_sight(c, analysis) for c in analysis.comparisons if c.sd],
        designs=[_design(arm, analysis) for arm in analysis.arms.values()],
        trials=[_trial(t) for arm in analysis.arms.values() for t in arm.trials],
        environment=_environment(analysis),
        figures=figures,
        colours=colours(list(analysis.arms), study.baseline),
        dark=DARK,
        run_tokens=count(analysis.baseline.recorded("tokens")),
        repeat=f"gatewright study run study.yaml --out {study.name}-again",
    )


def _by_interest(analysis: Analysis) -> list[Comparison]:
    """What a reader looks for first: winners, then equals, then losers; within each from best to worst."""
    order = ("better", "equivalent", "worse", "inconclusive", "none")
    ranked = [c for arm in analysis.ranking if (c := analysis.comparison(arm.name)) is not None]
    return sorted(ranked, key=lambda c: order.index(c.verdict))


def _verdict(c: Comparison, analysis: Analysis) -> dict[str, Any]:
    return {
        "arm": c.arm,
        "verdict": c.verdict,
        "label": VERDICT_LABELS[c.verdict],
        "sentence": sentence(c, analysis.study.judged_by),
    }


def _row(arm: ArmResult, analysis: Analysis) -> dict[str, Any]:
    c = analysis.comparison(arm.name)
    baseline = analysis.baseline
    memory = arm.recorded("peak_memory_bytes")
    return {
        "arm": arm.name,
        "about": arm.about,
        "is_baseline": arm is baseline,
        "mean": metric_value(arm.mean),
        "sd": metric_value(arm.sd),
        "n": arm.n,
        "difference": difference_text(c) if c else "—",
        "interval": _interval(c.ci95 if c else None),
        "p": p_number(c.p_value) if c else "—",
        "p_adjusted": p_number(c.p_adjusted) if c else "—",
        "p_sign_flip": p_number(c.p_sign_flip) if c else "—",
        "effect": "—" if c is None or c.effect_size is None else number(c.effect_size, 2),
        "verdict": c.verdict if c else "",
        "label": VERDICT_LABELS[c.verdict] if c else "baseline" if arm is baseline else "not compared",
        "architecture": arm.recorded("architecture") or "—",
        "parameters": _exact(arm.recorded("parameters")),
        "parameters_against": _against(arm, baseline, "parameters"),
        "flops": count(arm.recorded("flops_per_token")),
        "flops_against": _against(arm, baseline, "flops_per_token"),
        "speed": count(arm.tokens_per_second),
        "memory": "—" if memory is None else f"{count(memory)}B",
        "best": metric_value(_mean(arm, "best_val_loss")),
    }


def _sight(c: Comparison, analysis: Analysis) -> dict[str, Any]:
    """What the comparison could have seen, and how many seeds it would take to see more."""
    detectable = analysis.detectable(c)
    targets = {"the measured difference": abs(c.mean_difference)}
    if c.margin is not None:
        targets = {f"a difference of {percent(c.percent(c.margin), sign=False)}": c.margin} | targets
    return {
        "arm": c.arm,
        "n": c.n,
        "sd": percent(c.percent(c.sd or 0.0), sign=False),
        "detectable": "—" if detectable is None else percent(c.percent(detectable), sign=False),
        "seeds": [
            {"what": what, "needed": _needed(analysis.seeds_for(c, difference) if difference else None)}
            for what, difference in targets.items()
        ],
    }


def _design(arm: ArmResult, analysis: Analysis) -> dict[str, Any]:
    designs = analysis.folder.plan()["arms"]
    changed = differences(designs[analysis.study.baseline], designs[arm.name])
    example = next((t.trial for t in arm.trials if t.run is not None), None)
    return {
        "arm": arm.name,
        "about": arm.about,
        "overrides": arm.overrides,
        "is_baseline": arm.name == analysis.study.baseline,
        "changed": [{"key": key, "baseline": _plain(was), "here": _plain(now)} for key, was, now in changed],
        "config": None
        if example is None
        else (analysis.folder.run(example) / "config.yaml").read_text(encoding="utf-8"),
        "config_of": None if example is None else f"runs/{example.name}/config.yaml",
    }


def _trial(result: Any) -> dict[str, Any]:
    summary = result.summary
    seconds = summary.get("seconds")
    return {
        "arm": result.trial.arm,
        "seed": result.trial.seed,
        "state": result.state,
        "value": metric_value(result.value),
        "best": metric_value(summary.get("best_val_loss")),
        "best_step": "—" if summary.get("best_val_step") is None else f"{summary['best_val_step']:,}",
        "steps": "—" if summary.get("steps") is None else f"{summary['steps']:,}",
        "tokens": count(summary.get("tokens")),
        "speed": count(summary.get("tokens_per_second")),
        "mfu": "—" if summary.get("mfu") is None else f"{summary['mfu']:.1%}",
        "seconds": "—" if seconds is None else f"{seconds:,.0f} s",
        "error": result.error or "",
    }


def _environment(analysis: Analysis) -> list[tuple[str, str]]:
    """The environment of the first usable run, in words; where runs differ the remarks say so."""
    run = next(
        (t.run for arm in analysis.arms.values() for t in arm.trials if t.run is not None and t.value is not None), None
    )
    if run is None:
        return []
    record = run.environment
    shown = [
        (label, _environment_value(key, record[key]))
        for key, label in ENVIRONMENT_SHOWN.items()
        if record.get(key) is not None
    ]
    packages = ", ".join(f"{name} {version}" for name, version in (record.get("packages") or {}).items())
    return [*shown, *([("packages", packages)] if packages else [])]


def _environment_value(key: str, value: Any) -> str:
    if key == "git":
        return f"{value['commit'][:12]}{' with uncommitted changes' if value.get('dirty') else ''}"
    return f"{count(value)}FLOP/s" if key == "peak_flops" else str(value)


def _interval(ends: tuple[float, float] | None) -> str:
    return "—" if ends is None else f"[{ends[0]:+.4f}, {ends[1]:+.4f}]".replace("-", MINUS)


def _exact(value: int | None) -> str:
    return "—" if value is None else f"{value:,}"


def _against(arm: ArmResult, baseline: ArmResult, key: str) -> str:
    own, reference = arm.recorded(key), baseline.recorded(key)
    if arm is baseline or not own or not reference:
        return ""
    return "equal" if own == reference else percent(100 * (own / reference - 1))


def _mean(arm: ArmResult, key: str) -> float | None:
    values = [t.summary[key] for t in arm.trials if t.value is not None and t.summary.get(key) is not None]
    return sum(values) / len(values) if values else None


def _needed(seeds: int | None) -> str:
    return "more than 1,000" if seeds is None else f"about {seeds}"


def _unbroken(text: str) -> str:
    """Text in which a number stays on the line of its unit and a p of its value."""
    return re.sub(r" (?=%|± |[=<] )|(?<=[±=<]) ", NO_BREAK, text)


def _plain(value: Any) -> str:
    return "—" if value is None else str(value)


def _markdown_cell(value: Any) -> str:
    """Text that cannot break a Markdown table or smuggle markup into it."""
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").split())
