"""What a report says, as plain words and tables; the templates only arrange it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gatewright.study.analysis import Analysis
from gatewright.study.convergence import SHARE, Course, Courses
from gatewright.study.gather import ArmResult, TrialResult
from gatewright.study.metric import METRICS
from gatewright.study.plan import LEARNING_RATE, Study, resolve_rate
from gatewright.study.statistics import Comparison
from gatewright.study.trials import differences
from gatewright.study.tuning import RateChoice, rung_sizes
from gatewright.study.wording import (
    VERDICT_LABELS,
    count,
    difference_text,
    headline,
    interval_text,
    join,
    metric_value,
    number,
    p_number,
    pair_name,
    percent,
    sentence,
)

ENVIRONMENT_SHOWN = {
    "device_name": "device", "cpu": "processor", "logical_cores": "cores", "threads": "threads a run",
    "precision": "precision", "python": "Python", "platform": "platform", "git": "commit", "peak_flops": "peak FLOP/s",
    "peak_how": "peak is",
}  # fmt: skip
"""What of ``environment.json`` a reader wants to see, and what to call it."""


def report_contents(analysis: Analysis) -> dict[str, Any]:
    """Everything a template needs, by the names the templates use."""
    study = analysis.study
    return {
        "study": study,
        "metric": study.judged_by,
        "analysis": analysis,
        "headline": headline(analysis.comparisons, study.baseline),
        "verdicts": [_verdict(c, analysis) for c in _by_interest(analysis)],
        "warnings": [r.text for r in analysis.remarks if r.level == "warning"],
        "notes": [r.text for r in analysis.remarks if r.level == "note"],
        "rows": [_row(arm, analysis) for arm in analysis.ranking],
        "sight": [_sight(c, analysis) for c in analysis.comparisons if c.sd],
        "rates": [_rate(choice, len(study.tuning_seeds)) for choice in analysis.choices.values()],
        "halvings": _halvings(study),
        "rate_columns": [str(rate) for rate in sorted(study.learning_rates, key=lambda r: resolve_rate(r, 1.0))],
        "pair_names": {(c.arm, c.baseline): pair_name(c, study.baseline) for c in analysis.comparisons},
        "designs": [_design(arm, analysis) for arm in analysis.arms.values()],
        "trials": [_trial(t, analysis) for t in _all_trials(analysis)],
        "environment": _environment(analysis),
        "budget": _budget(analysis),
        "rewarded": analysis.rewarded,
        "best_label": f"best {METRICS[_judge(analysis)].label}",
        "courses": None if analysis.courses is None else _courses(analysis.courses, analysis),
        "repeat": f"gatewright study run study.yaml --out {study.name}-again",
    }


def _by_interest(analysis: Analysis) -> list[Comparison]:
    """What a reader looks for first: winners, then equals, then losers; within each from best to worst."""
    order = ("better", "equivalent", "worse", "inconclusive", "none")
    rank = {arm.name: place for place, arm in enumerate(analysis.ranking)}
    return sorted(analysis.comparisons, key=lambda c: (order.index(c.verdict), rank[c.arm]))


def _verdict(c: Comparison, analysis: Analysis) -> dict[str, Any]:
    return {
        "arm": c.arm,
        "verdict": c.verdict,
        "label": VERDICT_LABELS[c.verdict],
        "sentence": sentence(c, analysis.study.judged_by),
    }


def _budget(analysis: Analysis) -> str:
    """What a run learns from; nothing before one is there."""
    if analysis.axis == "tokens":
        tokens = analysis.baseline.recorded("tokens")
        return "" if tokens is None else f"{count(tokens)} training tokens a run"
    design = analysis.designs[analysis.study.baseline]
    rows = design["train.batch_size"] * design["train.grad_accumulation"]
    each = f"{rows:,} questions × {design['rl.paths']} paths" if "rl.paths" in design else f"{rows:,} demonstrations"
    return f"{design['train.max_steps']:,} steps of {each} a run"


def _judge(analysis: Analysis) -> str:
    """What decides which of a run's checkpoints is its best one."""
    return "val_accuracy" if analysis.rewarded else "val_loss"


def _courses(found: Courses, analysis: Analysis) -> dict[str, Any]:
    """Convergence, stability and listening by arm, and what the threshold is."""
    return {
        "threshold": None if found.threshold is None else metric_value(found.threshold),
        "share": f"{100 * SHARE:g} %",
        "every": f"{analysis.designs[analysis.study.baseline]['train.eval_every']:,}",
        "rows": [_course(course) for course in found.arms],
    }


def _course(course: Course) -> dict[str, Any]:
    def heard(value: float | None, text: str) -> str:
        return "—" if value is None else text if course.listens else f"({text})"

    share, peers, divergence = course.differing_mass, course.effective_peers, course.blend_divergence
    fell = len(course.fell_below_start)
    return {
        "arm": course.arm,
        "start": metric_value(course.start),
        "final": metric_value(course.final),
        "sd": metric_value(course.sd),
        "steps": "—" if course.steps is None else f"{course.steps:,.0f}",
        "reached": f"{course.reached} of {course.seeds}",
        "fell": f"{fell} of {course.seeds}",
        "drop": metric_value(course.largest_drop),
        "peers": heard(peers, f"{peers or 0:.2f}"),
        "differing": heard(share, percent(100 * (share or 0), sign=False)),
        "divergence": heard(divergence, number(divergence, 2)),
        "zero_variance": "—" if course.zero_variance is None else percent(100 * course.zero_variance, sign=False),
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
        "interval": interval_text(c.ci95 if c else None),
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
    }


def _sight(c: Comparison, analysis: Analysis) -> dict[str, Any]:
    """What the comparison could have seen, and how many seeds it would take to see more."""
    detectable = analysis.detectable(c)
    targets = {"the measured difference": abs(c.mean_difference)}
    if c.margin is not None:
        targets = {f"a difference of {percent(c.percent(c.margin), sign=False)}": c.margin} | targets
    return {
        "arm": c.arm,
        "name": pair_name(c, analysis.study.baseline),
        "n": c.n,
        "sd": percent(c.percent(c.sd or 0.0), sign=False),
        "detectable": "—" if detectable is None else percent(c.percent(detectable), sign=False),
        "seeds": [
            {"what": what, "needed": _needed(analysis.seeds_for(c, difference) if difference else None)}
            for what, difference in targets.items()
        ],
    }


def _rate(choice: RateChoice, seeds: int) -> dict[str, Any]:
    """An arm's results at every learning rate, those of fewer ``seeds`` marked as such, and which one it got."""
    cells = []
    for rate, runs in choice.runs.items():
        diverged = any(t.state == "diverged" for t in runs)
        mean = metric_value(choice.means.get(rate))
        if choice.decided and len(runs) < seeds:
            mean = f"{mean} ({len(runs)} of {seeds} seeds)"
        cells.append(
            {
                "rate": f"{rate:g}",
                "mean": "diverged" if diverged else mean,
                "chosen": rate == choice.learning_rate,
            }
        )
    return {"arm": choice.arm, "cells": cells}


def _halvings(study: Study) -> str:
    """After how many seeds rates fell out: ``1 and 2 seeds``."""
    seeds = [str(seeds) for _, seeds in rung_sizes(study)[:-1]] if study.learning_rates else []
    return f"{join(seeds)} seed{'' if seeds == ['1'] else 's'}"


def _design(arm: ArmResult, analysis: Analysis) -> dict[str, Any]:
    changed = differences(analysis.designs[analysis.study.baseline], analysis.designs[arm.name])
    example = next((t.trial for t in arm.trials if t.run is not None), None)
    return {
        "arm": arm.name,
        "about": arm.about,
        "overrides": arm.overrides,
        "is_baseline": arm.name == analysis.study.baseline,
        "changed": [{"key": key, "baseline": _plain(was), "here": _plain(now)} for key, was, now in changed],
        "config": None if example is None else _without_place(analysis.folder.run(example) / "config.yaml"),
        "config_of": None if example is None else f"runs/{example.name}/config.yaml",
    }


def _without_place(config_file: Path) -> str:
    """A configuration as written, without the folder it was run in: not part of the design."""
    lines = config_file.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith("out:"))


def _all_trials(analysis: Analysis) -> list[TrialResult]:
    """Every run of the study, those that chose learning rates first."""
    tuning = [t for choice in analysis.choices.values() for t in choice.trials]
    return [*tuning, *(t for arm in analysis.arms.values() for t in arm.trials)]


def _trial(result: TrialResult, analysis: Analysis) -> dict[str, Any]:
    summary = result.summary
    tuning = result.trial.learning_rate is not None
    own = analysis.designs[result.trial.arm][LEARNING_RATE]
    rate = result.run.config.train.learning_rate if tuning and result.run is not None else own
    seconds = summary.get("seconds")
    return {
        "arm": result.trial.arm,
        "seed": result.trial.seed,
        "rate": "—" if tuning and result.run is None else f"{rate:g}",
        "purpose": "tuning" if tuning else "",
        "state": result.state,
        "value": metric_value(result.value),
        "best": metric_value(summary.get(f"best_{_judge(analysis)}")),
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
    if data := record.get("data"):
        shown.insert(0, ("data", _data(data, record.get("validation"))))
    packages = ", ".join(f"{name} {version}" for name, version in (record.get("packages") or {}).items())
    return [*shown, *([("packages", packages)] if packages else [])]


def _data(data: dict[str, Any], validation: dict[str, Any] | None) -> str:
    """The text, or the questions, that runs learned from and were judged on."""
    place, sizes = data.get("source") or {}, [data.get(split) or {} for split in ("train", "validation")]
    source = " ".join(str(place[key]) for key in ("name", "path", "subset") if place.get(key))
    kept = f"tokenizer {(data.get('tokenizer') or {}).get('name')}; content {str(data.get('content_sha256'))[:12]}"
    if all(size.get("questions") for size in sizes):
        seen = data.get("contamination")
        also = "" if seen is None else f" ({percent(100 * seen, sign=False)} of them in training questions)"
        learned, held_out = (f"{size['questions']:,}" for size in sizes)
        return f"task {source}: {learned} questions to learn from, {held_out} held out{also}; {kept}"
    scored = f", {count(validation['tokens'])} of them scored" if validation and validation.get("tokens") else ""
    learned, held_out = (count(size.get("tokens")) for size in sizes)
    return f"{source}: {learned} training tokens, {held_out} held out{scored}; {kept}"


def _environment_value(key: str, value: Any) -> str:
    if key == "git":
        return f"{value['commit'][:12]}{' with uncommitted changes' if value.get('dirty') else ''}"
    return f"{count(value)}FLOP/s" if key == "peak_flops" else str(value)


def _exact(value: int | None) -> str:
    return "—" if value is None else f"{value:,}"


def _against(arm: ArmResult, baseline: ArmResult, key: str) -> str:
    own, reference = arm.recorded(key), baseline.recorded(key)
    if arm is baseline or not own or not reference:
        return ""
    return "equal" if own == reference else percent(100 * (own / reference - 1))


def _needed(seeds: int | None) -> str:
    return "more than 1,000" if seeds is None else f"about {seeds}"


def _plain(value: Any) -> str:
    return "—" if value is None else str(value)
