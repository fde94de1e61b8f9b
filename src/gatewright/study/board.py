"""Tables for the terminal: a study's plan, its trials as they run, and what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from gatewright.config import Config
from gatewright.study.analysis import Analysis
from gatewright.study.gather import State
from gatewright.study.launch.record import submitted_trials
from gatewright.study.plan import Study
from gatewright.study.process import trial_processes
from gatewright.study.progress import TrialRow, trial_rows
from gatewright.study.store import StudyFolder
from gatewright.study.trials import Plan, trials_of
from gatewright.study.tuning import tuning_runs
from gatewright.study.wording import (
    VERDICT_LABELS,
    VERDICT_STYLES,
    count,
    difference_text,
    duration,
    metric_value,
    p_number,
    percent,
    repeated,
    sentence,
)
from gatewright.watch.follow import Progress

STATE_STYLES: dict[State, str] = {
    "waiting": "dim", "running": "bold cyan", "finished": "green", "diverged": "bold red", "failed": "bold red",
    "interrupted": "yellow",
}  # fmt: skip


def trial_table(title: str, rows: Sequence[TrialRow], most: int | None = None) -> RenderableType:
    """All trials with state, step, losses, speed and time left; beyond ``most`` rows only those that have news."""
    tally = Counter(row.state for row in rows)
    said = ", ".join(f"{tally[state]} {state}" for state in STATE_STYLES if tally[state])
    left = study_seconds_left(rows)
    eta = f" · about {duration(left)} left" if left is not None else ""
    table = Table(
        title=Text(f"{title}: {said}{eta}", style="bold"), title_justify="left", header_style="dim", expand=False
    )
    for column in ("arm", "seed", "state"):
        table.add_column(column)
    known = [row.progress for row in rows if row.progress.step] or [Progress()]
    for column in ("step", known[0].trained.name, known[0].judged.name, "tok/s", "ETA"):
        table.add_column(column, justify="right")
    shown = list(rows)
    if most is not None and len(shown) > most:
        shown = [row for row in rows if row.state in ("running", "failed", "diverged")][: max(most, 1)]
    for row in shown:
        progress = row.progress
        running = row.state == "running"
        table.add_row(
            escape(row.trial.arm),
            str(row.trial.seed),
            Text(row.state, style=STATE_STYLES[row.state]),
            f"{progress.step:,}/{row.max_steps:,} {progress.step / row.max_steps:4.0%}",
            metric_value(progress.trained.value),
            metric_value(progress.judged.value),
            count(progress.tokens_per_second) if running else "",
            duration(row.seconds_left) if running and row.seconds_left is not None else "",
        )
    if len(shown) < len(rows):
        table.caption = f"and {len(rows) - len(shown)} more"
    errors = [Text(f"{r.trial.name}: {r.error}", style="red") for r in shown if r.error and r.state != "finished"]
    lost = [Text(f"{r.trial.name}: started again, {repeated(r.lost)}", style="yellow") for r in shown if r.lost]
    return Group(table, *errors, *lost)


def study_seconds_left(rows: Sequence[TrialRow]) -> float | None:
    """Time until all trials are done, if the running ones keep their speed and as many run as do now."""
    running = [row for row in rows if row.state == "running" and row.progress.tokens_per_second]
    if not running:
        return None
    rate = sum(row.progress.tokens_per_second or 0.0 for row in running)
    open_rows = [row for row in rows if row.state in ("running", "waiting", "interrupted")]
    tokens = sum(row.tokens_left for row in open_rows)
    return max(tokens / rate, max(row.seconds_left or 0.0 for row in running))


def status(path: str | Path) -> RenderableType:
    """How far the trials of the study in folder ``path`` are, whether or not it is being run just now."""
    folder = StudyFolder(path)
    study = folder.study()
    trials = trials_of(study)
    running = {*trial_processes(folder, trials), *submitted_trials(folder, trials)}
    return trial_table(f"Study {study.name}", trial_rows(study, folder, running))


def describe_plan(plan: Plan, lines: Sequence[str] = ()) -> RenderableType:
    """What a study would run: arms with both costs, runs, tokens and FLOPs in all, and below it ``lines``."""
    from gatewright.training.subject import subject_cost  # needs torch, which the other tables do not

    study = plan.study
    costs = {arm: subject_cost(config) for arm, config in plan.configs.items()}
    reference = costs[study.baseline]
    table = Table(title=Text(f"Study {study.name}", style="bold"), title_justify="left", header_style="dim")
    table.add_column("arm and what it overrides", overflow="fold")
    for column in ("parameters", "FLOPs/token", "tokens/run"):
        table.add_column(column, justify="right", no_wrap=True)
    tokens = {arm: tokens_per_step(config) * config.train.max_steps for arm, config in plan.configs.items()}
    for arm, own in costs.items():
        name = f"{arm} (baseline)" if arm == study.baseline else arm
        table.add_row(
            Text.assemble((name, "bold"), *((f"\n  {override}", "dim") for override in study.arms[arm].overrides)),
            _beside(f"{own.parameters:,}", own.parameters, reference.parameters),
            _beside(count(own.flops_per_token), own.flops_per_token, reference.flops_per_token),
            "—" if plan.configs[arm].task is not None else count(tokens[arm]),
        )
    total_tokens = sum(tokens[trial.arm] for trial in plan.trials)
    total_flops = sum(tokens[trial.arm] * costs[trial.arm].flops_per_token for trial in plan.trials)
    said = [
        _runs(study),
        "how many tokens a run learns from depends on what is written"
        if any(config.task is not None for config in plan.configs.values())
        else f"{count(total_tokens)} training tokens and {count(total_flops)}FLOP in all, evaluation not counted",
        f"judged by {study.judged_by.label}, {study.judged_by.direction} is better, against {study.baseline}",
        *lines,
    ]
    if len(study.seeds) < 3:
        said.append("fewer than three seeds: at best a very large difference can be shown")
    if any(_vocabulary_open(config) for config in plan.configs.values()):
        said.append(
            "the tokenizer will set the vocabulary when the data are prepared; counts are for the configured one"
        )
    return Group(table, *(Text(line) for line in said))


def _runs(study: Study) -> str:
    seeds = ", ".join(map(str, study.seeds))
    most = "at most " if study.sequential else ""
    arms, every = len(study.arms), len(study.seeds)
    text = f"{most}{arms * every} trials: {arms} arms × {every} seeds ({seeds})"
    if not study.learning_rates:
        return text
    rates, tuning, runs = len(study.learning_rates), len(study.tuning_seeds), arms * tuning_runs(study)
    seeds = f"{tuning} seed{'s' if tuning > 1 else ''}"
    how = f"{rates} rates × {seeds}" if study.tuner == "grid" else f"{rates} rates, the better half of them on {seeds}"
    return f"{runs} trials to choose learning rates: {arms} arms × {how}; then {text}"


def verdict_table(analysis: Analysis) -> RenderableType:
    """What came out, for the terminal: the ranking, and every verdict as a sentence."""
    metric = analysis.study.judged_by
    table = Table(title=Text(f"Study {analysis.study.name}", style="bold"), title_justify="left", header_style="dim")
    table.add_column("arm")
    for column in (metric.label, "n", f"against {analysis.study.baseline}", "Holm p", "parameters"):
        table.add_column(column, justify="right", no_wrap=column != metric.label)
    table.add_column("verdict")
    for arm in analysis.ranking:
        c = analysis.comparison(arm.name)
        parameters = arm.recorded("parameters")
        unjudged = "baseline" if arm is analysis.baseline else "—"
        table.add_row(
            escape(arm.name),
            metric_value(arm.mean),
            str(arm.n),
            difference_text(c) if c else "",
            p_number(c.p_adjusted) if c else "",
            "—" if parameters is None else f"{parameters:,}",
            Text(VERDICT_LABELS[c.verdict], style=VERDICT_STYLES[c.verdict]) if c else Text(unjudged, style="dim"),
        )
    warnings = [Text(f"! {remark.text}", style="yellow") for remark in analysis.remarks if remark.level == "warning"]
    return Group(table, *(Text(sentence(c, metric)) for c in analysis.comparisons), *warnings)


def tokens_per_step(config: Config) -> int:
    """Tokens of one optimizer step."""
    return config.train.batch_size * config.train.grad_accumulation * config.model.block_size


def _vocabulary_open(config: Config) -> bool:
    return config.data.vocabulary == "tokenizer" and config.data.tokenizer != f"bpe-{config.model.vocab_size}"


def _beside(shown: str, own: int, reference: int) -> Text:
    """A cost and, below it, how far it is from the baseline's."""
    return Text.assemble(shown, ("" if own == reference else f"\n{percent(100 * (own / reference - 1))}", "dim"))
