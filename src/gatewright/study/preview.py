"""What a study is going to be before anything of it runs: its size, its time, what it can show; fitted to a budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gatewright.config import DataConfig
from gatewright.errors import UserError
from gatewright.study.analysis import analyse
from gatewright.study.budget import fit
from gatewright.study.launch import Launcher
from gatewright.study.launch.local import LocalLauncher
from gatewright.study.noise import Noise, find_noise
from gatewright.study.noise import sentence as what_it_shows
from gatewright.study.plan import Study
from gatewright.study.probe import measure
from gatewright.study.process import Command, train_command
from gatewright.study.schedule import Schedule
from gatewright.study.store import StudyFolder
from gatewright.study.timing import Timing, estimate, remembered
from gatewright.study.trials import Plan, make_plan
from gatewright.study.wording import duration


@dataclass(frozen=True)
class Preview:
    """A plan, perhaps cut down to a budget, and what can be said about it."""

    plan: Plan
    lines: list[str]


def preview_study(
    study: Study,
    out: str | Path,
    workers: int | None = None,
    budget: float | None = None,
    measured: bool = True,
    *,
    launcher: Launcher | None = None,
    command: Command = train_command,
    prepare: Callable[[DataConfig], Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Preview:
    """The plan of a study that is going to run in ``out``, with estimates of its time and of what it can show.

    With ``measured`` a few steps of each design are run first, unless this machine remembers them. For ``budget``, in
    seconds, it has to be: the plan is then the largest part of the study that fits. A study that ``out`` holds already
    keeps the steps and seeds it was begun with. How long runs take is known only where ``launcher`` (default: the local
    one) runs them on this machine. Raises `UserError` for a study that cannot be planned or fitted.
    """
    plan = make_plan(study)
    launcher = launcher or LocalLauncher()
    beside, threads = launcher.shares(workers)
    folder = StudyFolder(out)
    begun = folder.plan_file.exists()
    lines = []
    if begun and budget is not None:
        plan = make_plan(replace(study, base=folder.study().base, seeds=folder.study().seeds))
        lines.append(f"the study in {out} goes on as it was begun; the budget does not change it")
    noise = _noise(study, folder, begun)
    timings: dict[str, Timing] | None = None
    workers = beside or len(plan.trials)
    if not launcher.here:
        if budget is not None:
            raise UserError(f"a budget is for trials on this machine, which is measured; launcher is {launcher.name}")
    elif measured:
        timings = measure(plan, workers, threads, command=command, prepare=prepare, say=say)
    else:
        timings = remembered(plan, workers, threads)
    shows = what_it_shows(noise, len(plan.study.seeds), len(study.family), sequential=study.sequential)
    if budget is not None and not begun:
        if timings is None:
            raise UserError("a budget needs to know how long runs take: leave out --no-measure")
        fitted = fit(plan, budget, timings, workers, noise, sequential=study.sequential)
        return Preview(fitted.plan, [fitted.sentence])
    if timings is not None:
        lines.append(_time(plan, timings, workers, folder if begun else None))
    return Preview(plan, [*lines, shows])


def _noise(study: Study, folder: StudyFolder, begun: bool) -> Noise | None:
    own = analyse(folder.path).comparisons if begun else []
    return find_noise(study.metric, own=own, stated=study.noise, beside=folder.path.parent, but=folder.path)


def _time(plan: Plan, timings: dict[str, Timing], workers: int, folder: StudyFolder | None) -> str:
    trials = plan.trials if folder is None else Schedule(plan, folder).left()
    if not trials:
        return "every run is finished"
    most = "at most " if plan.study.sequential or plan.study.tuner != "grid" else ""
    left = f" for the {len(trials)} runs that are left" if len(trials) < len(plan.trials) else ""
    days = sorted({timing.measured for timing in timings.values()})
    return (
        f"{most}about {duration(estimate(plan, timings, workers, trials))}{left}, {workers} at a time "
        f"(measured here, {days[-1]})"
    )
