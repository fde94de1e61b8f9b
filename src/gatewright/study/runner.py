"""Running a study: trials in processes of their own, a live table, and a report at the end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from gatewright.config import DataConfig
from gatewright.errors import RunError, StoppedError
from gatewright.study.analysis import Analysis, analyse
from gatewright.study.board import describe_plan, trial_table, verdict_table
from gatewright.study.gather import trial_result
from gatewright.study.plan import Study, load_study
from gatewright.study.preview import preview_study
from gatewright.study.probe import prepare_corpora
from gatewright.study.process import Command, TrialProcess, share_cores, stop_orphans, train_command
from gatewright.study.progress import trial_rows
from gatewright.study.report import write_files
from gatewright.study.schedule import Schedule
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.terminal import Terminal
from gatewright.training.interrupt import Interrupt

POLL_SECONDS = 0.2


class StudyInterruptedError(StoppedError):
    """The study was asked to stop; what is done is kept, and running it again continues."""


def run_study(
    study: Study | str | Path,
    out: str | Path | None = None,
    workers: int | None = None,
    dry_run: bool = False,
    budget: float | None = None,
    measured: bool = True,
    *,
    command: Command = train_command,
    prepare: Callable[[DataConfig], Any] | None = None,
    console: Console | None = None,
) -> Analysis | None:
    """Run every trial of a study (a `Study` or its file) that is not finished yet, and write the report into ``out``.

    The plan is printed first. Trials run ``workers`` at a time (default: two, or as many as there are cores), each a
    process with its share of the cores. Finished trials are skipped and interrupted ones continued; a trial that fails
    does not stop the others, and is tried again by the next call. ``out`` defaults to ``runs/<name>``. With ``budget``,
    in seconds, the study is cut down to what fits into it (see `gatewright.study.budget`). With ``dry_run`` only the
    plan is printed, nothing is written, and None is returned. For a budget or a dry run a few steps of each design are
    run to estimate the time, unless ``measured`` is False. ``command`` makes a trial's command line and ``prepare``
    its data.

    Raises `UserError` before anything runs for a plan that cannot be run or does not go on with what ``out`` holds,
    `StudyInterruptedError` after Ctrl-C or SIGTERM once the trials have saved, `RunError` if no trial could be
    finished.
    """
    console = console or Terminal()
    if not isinstance(study, Study):
        study = load_study(study)
    share_cores(workers)
    folder = StudyFolder(out if out is not None else Path("runs") / study.name)
    preview = preview_study(
        study, folder.path, workers, budget, measured and (dry_run or budget is not None),
        command=command, prepare=prepare, say=console.print,
    )  # fmt: skip
    console.print(describe_plan(preview.plan, preview.lines))
    if dry_run:
        return None
    plan = preview.plan
    study = plan.study
    with folder.locked():
        folder.adopt(plan)
        schedule = Schedule(plan, folder)
        todo = schedule.ready()
        if stop_orphans(folder, plan.trials):
            console.print("Trials of an earlier start were still running; they were stopped and are continued now.")
        if todo:
            prepare_corpora([plan.configs[trial.arm] for trial in todo], prepare)
            TrialRunner(schedule, workers, command, console).run()
        analysis = analyse(folder.path)
        report = write_files(analysis)
    console.print(verdict_table(analysis))
    console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)
    if not any(arm.n for arm in analysis.arms.values()):
        reason = next((t.error for arm in analysis.arms.values() for t in arm.trials if t.error), "none finished")
        raise RunError(f"no trial of study '{study.name}' could be finished: {reason} (logs: {folder.path / 'trials'})")
    return analysis


class TrialRunner:
    """Keeps ``workers`` trials running until all have ended or someone asks to stop."""

    def __init__(self, schedule: Schedule, workers: int | None, command: Command, console: Console) -> None:
        self.schedule, self.plan, self.folder = schedule, schedule.plan, schedule.folder
        self.command, self.console = command, console
        self.workers, self.threads = share_cores(workers)
        self.running: list[TrialProcess] = []
        self.begun: set[Trial] = set()

    def run(self) -> None:
        """Run all that is open, each trial at most once; if asked to stop, let the running ones save.

        Then `StudyInterruptedError` is raised.
        """
        with ExitStack() as stack:
            stack.callback(self._kill_rest)
            interrupt = stack.enter_context(Interrupt())
            live = None
            if self.console.is_terminal:
                live = stack.enter_context(
                    Live(console=self.console, get_renderable=self._table, refresh_per_second=2, transient=False)
                )
            waiting = self._waiting()
            while (self.running or waiting) and not interrupt.requested:
                while waiting and len(self.running) < self.workers:
                    self._start(waiting.pop(0))
                time.sleep(POLL_SECONDS)
                if self._collect():
                    waiting = self._waiting()
            if interrupt.requested:
                self._stop(interrupt.requested)
            if live is not None:
                live.refresh()

    def _waiting(self) -> list[Trial]:
        return self.schedule.ready(self.begun, {process.trial for process in self.running})

    def _start(self, trial: Trial) -> None:
        self.begun.add(trial)
        rate = self.schedule.learning_rate(trial)
        self.folder.write_config(trial, self.plan.config(trial, self.folder.run(trial), rate))
        threads = self.plan.configs[trial.arm].train.threads
        overrides = [f"train.threads={self.threads}"] if threads is None else []
        self.running.append(TrialProcess(trial, self.folder, self.command, threads or self.threads, overrides))
        self._say(f"{trial.name}: started")

    def _collect(self, stopping: bool = False) -> int:
        """Take note of trials that have ended; returns how many."""
        ended = [process for process in self.running if not process.running()]
        for process in ended:
            self.running.remove(process)
            result = trial_result(process.trial, self.folder, self.plan.study.judged_by)
            left = result.summary.get("status") == "interrupted"  # it saved and left, whoever asked it to
            if result.state in ("finished", "diverged") or left or stopping:
                value = "" if result.value is None else f", {self.plan.study.judged_by.label} {result.value:.4f}"
                self._say(f"{process.trial.name}: {result.state}{value}")
            else:
                self._say(f"{process.trial.name}: failed: {process.note_failure()}")
        return len(ended)

    def _stop(self, signal_name: str) -> None:
        self.console.print(
            f"{signal_name}: waiting for {len(self.running)} running trials to save (once more to stop at once)"
        )
        for process in self.running:
            process.stop()
        for process in self.running:
            process.wait()
        self._collect(stopping=True)
        states = [trial_result(t, self.folder, self.plan.study.judged_by).state for t in self.plan.trials]
        raise StudyInterruptedError(
            f"stopped by {signal_name}: {states.count('finished')} of {len(states)} trials are finished and kept; "
            f"the same command continues (gatewright study run {self.folder.study_file} --out {self.folder.path})"
        )

    def _kill_rest(self) -> None:
        """Leave no process behind when something goes wrong here."""
        for process in self.running:
            process.kill()

    def _say(self, line: str) -> None:
        if not self.console.is_terminal:  # where there is no live table to show it
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Any:
        rows = trial_rows(self.plan.study, self.folder, {process.trial for process in self.running})
        return trial_table(f"Study {self.plan.study.name}", rows, most=max(4, self.console.height - 6))
