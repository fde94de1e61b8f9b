"""Running a study: trials in processes of their own, a live table, and a report at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from gatewright.config import DataConfig
from gatewright.errors import RunError, StoppedError
from gatewright.run import METRICS
from gatewright.study.analysis import Analysis, analyse
from gatewright.study.board import describe_plan, trial_table, verdict_table
from gatewright.study.gather import trial_result
from gatewright.study.launch import Job, Launcher, LaunchError
from gatewright.study.launch.attempt import Attempt
from gatewright.study.launch.job import LEFT
from gatewright.study.launch.leftovers import settle_leftovers
from gatewright.study.launch.local import LocalLauncher
from gatewright.study.launch.record import write_record
from gatewright.study.launch.retries import RETRIES, Retries, note_attempt
from gatewright.study.launch.silence import STALL_TIMEOUT, Silence
from gatewright.study.plan import Study, load_study
from gatewright.study.preview import preview_study
from gatewright.study.probe import prepare_corpora
from gatewright.study.process import Command, note_failure, train_command
from gatewright.study.progress import trial_rows
from gatewright.study.report import write_files
from gatewright.study.schedule import Schedule
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.study.wording import duration
from gatewright.terminal import Terminal
from gatewright.training.interrupt import Interrupt
from gatewright.watch.follow import read_progress

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
    launcher: Launcher | None = None,
    retries: int = RETRIES,
    stall_timeout: float | None = STALL_TIMEOUT,
    command: Command = train_command,
    prepare: Callable[[DataConfig], Any] | None = None,
    console: Console | None = None,
) -> Analysis | None:
    """Run every trial of a study (a `Study` or its file) that is not finished yet, and write the report into ``out``.

    The plan is printed first. Trials run ``workers`` at a time (default: two, or as many as there are cores), each a
    process with its share of the cores, or wherever ``launcher`` starts them. Finished trials are skipped and
    interrupted ones continued; a trial that fails does not stop the others, and is tried again by the next call. One
    that is killed, lost or pre-empted, or that writes nothing for ``stall_timeout`` seconds (None: however long), is
    started again after a pause, but not more often than ``retries`` times without having come further.

    ``out`` defaults to ``runs/<name>``. With ``budget``,
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
    launcher = launcher or LocalLauncher()
    launcher.shares(workers)
    folder = StudyFolder(out if out is not None else Path("runs") / study.name)
    preview = preview_study(
        study, folder.path, workers, budget, measured and (dry_run or budget is not None),
        launcher=launcher, command=command, prepare=prepare, say=console.print,
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
        if todo:
            with launcher:
                adopted, stopped = settle_leftovers(folder, plan.trials, launcher)
                if stopped:
                    console.print(
                        "Trials of an earlier start were still running; they were stopped and are continued now."
                    )
                prepare_corpora([plan.configs[trial.arm] for trial in todo], prepare)
                runner = TrialRunner(schedule, launcher, workers, command, console, Retries(retries), stall_timeout)
                runner.run(adopted)
        analysis = analyse(folder.path)
        report = write_files(analysis)
    console.print(verdict_table(analysis))
    console.print(f"report: {report}", soft_wrap=True, highlight=False, markup=False)
    if not any(arm.n for arm in analysis.arms.values()):
        reason = next((t.error for arm in analysis.arms.values() for t in arm.trials if t.error), "none finished")
        raise RunError(f"no trial of study '{study.name}' could be finished: {reason} (logs: {folder.path / 'trials'})")
    return analysis


@dataclass(eq=False)
class _Running:
    """A job under way, and whether it was asked to leave because it hung."""

    job: Job
    silence: Silence
    stalled: bool = False


class TrialRunner:
    """Keeps ``workers`` trials running until all have ended or someone asks to stop."""

    def __init__(
        self,
        schedule: Schedule,
        launcher: Launcher,
        workers: int | None,
        command: Command,
        console: Console,
        retries: Retries,
        stall_timeout: float | None,
    ) -> None:
        self.schedule, self.plan, self.folder = schedule, schedule.plan, schedule.folder
        self.launcher, self.command, self.console = launcher, command, console
        self.retries, self.stall_timeout = retries, stall_timeout
        self.workers, self.threads = launcher.shares(workers)
        self.running: list[_Running] = []
        self.again: dict[Trial, float] = {}
        """lost trials, and when they are to be started again"""
        self.begun: set[Trial] = set()

    def run(self, adopted: Iterable[Job] = ()) -> None:
        """Run all that is open, besides the jobs ``adopted``; if asked to stop, let the running ones save.

        Then `StudyInterruptedError` is raised.
        """
        for job in adopted:
            self._take(job, "still running, as started before")
        with ExitStack() as stack:
            stack.callback(self._kill_rest)
            interrupt = stack.enter_context(Interrupt())
            live = None
            if self.console.is_terminal:
                live = stack.enter_context(
                    Live(console=self.console, get_renderable=self._table, refresh_per_second=2, transient=False)
                )
            waiting = self._waiting()
            while (self.running or waiting or self.again) and not interrupt.requested:
                while (waiting or self._due()) and (self.workers is None or len(self.running) < self.workers):
                    self._start(self._due() or waiting.pop(0))
                time.sleep(POLL_SECONDS)
                self._end_stalled()
                if self._collect():
                    waiting = self._waiting()
            if interrupt.requested:
                self._stop(interrupt.requested)
            if live is not None:
                live.refresh()

    def _waiting(self) -> list[Trial]:
        return self.schedule.ready(self.begun, {*self.again, *(running.job.trial for running in self.running)})

    def _due(self) -> Trial | None:
        """A lost trial whose pause is over."""
        return next((trial for trial, when in self.again.items() if time.monotonic() >= when), None)

    def _start(self, trial: Trial) -> None:
        self.begun.add(trial)
        self.again.pop(trial, None)
        rate = self.schedule.learning_rate(trial)
        self.folder.write_config(trial, self.plan.config(trial, self.folder.run(trial), rate))
        self.folder.error_file(trial).unlink(missing_ok=True)
        threads = self.plan.configs[trial.arm].train.threads
        overrides = [f"train.threads={self.threads}"] if threads is None else []
        arguments = self.command(self.folder.config_file(trial), overrides)
        attempt = Attempt(arguments, str(self.folder.log_file(trial)), threads or self.threads)
        try:
            job = self.launcher.start(trial, self.folder, attempt)
        except LaunchError as error:
            self._lost(trial, str(error))
            return
        if not self.launcher.here:
            write_record(self.folder, trial, self.launcher.name, job.name)
        self._take(job, f"started as job {job.name}" if job.name else "started")

    def _take(self, job: Job, said: str) -> None:
        self.begun.add(job.trial)
        written = [self.folder.log_file(job.trial), self.folder.run(job.trial) / METRICS]
        self.running.append(_Running(job, Silence(written)))
        self._say(f"{job.trial.name}: {said}")

    def _end_stalled(self) -> None:
        """Ask trials that hang to save and leave; end those that do not even do that in as long a time."""
        if self.stall_timeout is None:
            return
        for running in self.running:
            if running.silence.seconds() < self.stall_timeout:
                continue
            running.silence.restart()
            if running.job.queued():
                continue
            if running.stalled:
                running.job.kill()
            else:
                running.job.stop()
                running.stalled = True

    def _collect(self, stopping: bool = False) -> int:
        """Take note of trials that have ended; returns how many."""
        ended = [running for running in self.running if not running.job.running()]
        for running in ended:
            self.running.remove(running)
            trial, ending = running.job.trial, running.job.ending()
            self.folder.job_file(trial).unlink(missing_ok=True)
            result = trial_result(trial, self.folder, self.plan.study.judged_by)
            if result.state in ("finished", "diverged") or stopping:
                value = "" if result.value is None else f", {self.plan.study.judged_by.label} {result.value:.4f}"
                self._say(f"{trial.name}: {result.state}{value}")
            elif running.stalled:
                self._lost(trial, f"wrote nothing for {duration(self.stall_timeout or 0.0)}")
            elif ending.may_pass:
                self._lost(trial, "asked to leave" if ending.code == LEFT else ending.how)
            else:
                self._say(f"{trial.name}: failed: {note_failure(trial, self.folder, ending.how)}")
        return len(ended)

    def _lost(self, trial: Trial, how: str) -> None:
        """Have a trial started again whose process was lost, unless that has been tried often enough."""
        step = read_progress(self.folder.run(trial) / METRICS).step
        pause = self.retries.pause(trial, step)
        if pause is None:
            self._say(f"{trial.name}: failed: {note_failure(trial, self.folder, how)}")
            return
        note_attempt(trial, self.folder, self.launcher.name, how, step)
        self.again[trial] = time.monotonic() + pause
        self._say(f"{trial.name}: {how} at step {step:,}; starts again in {duration(pause)}")

    def _stop(self, signal_name: str) -> None:
        self.console.print(
            f"{signal_name}: waiting for {len(self.running)} running trials to save (once more to stop at once)"
        )
        for running in self.running:
            running.job.stop()
        for running in self.running:
            running.job.wait()
        self._collect(stopping=True)
        states = [trial_result(t, self.folder, self.plan.study.judged_by).state for t in self.plan.trials]
        raise StudyInterruptedError(
            f"stopped by {signal_name}: {states.count('finished')} of {len(states)} trials are finished and kept; "
            f"the same command continues (gatewright study run {self.folder.study_file} --out {self.folder.path})"
        )

    def _kill_rest(self) -> None:
        """Leave no process behind when something goes wrong here."""
        for running in self.running:
            running.job.kill()

    def _say(self, line: str) -> None:
        if not self.console.is_terminal:  # where there is no live table to show it
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self) -> Any:
        rows = trial_rows(self.plan.study, self.folder, {running.job.trial for running in self.running})
        return trial_table(f"Study {self.plan.study.name}", rows, most=max(4, self.console.height - 6))
