"""The runs below a folder as they stand: what each says of itself, held against the processes that are alive."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from gatewright.config import Config, read_config
from gatewright.errors import UserError
from gatewright.find import find_runs, study_place
from gatewright.reading import read_note
from gatewright.run import CONFIG, METRICS, Run
from gatewright.watch.follow import History
from gatewright.watch.vitals import LOCK, Owner, Vitals, find_owners

State = Literal["running", "starting", "stopped (killed?)", "failed", "diverged", "interrupted", "waiting", "finished"]
"""in the order of their news"""
STOPPED: State = "stopped (killed?)"

SCAN_SECONDS = 2.0
PATIENCE = 1_800.0
"""How long a run whose process cannot be seen from here may write nothing and still count as running."""


@dataclass(frozen=True)
class View:
    """One run at one moment."""

    name: str
    state: State
    history: History
    max_steps: int = 0
    """0: not known, because it has not begun or its configuration cannot be read"""
    architecture: str = ""
    vitals: Vitals | None = None
    seconds_left: float | None = None
    checkpoint: int | None = None
    """the step of the next one"""
    checkpoint_in: float | None = None
    """seconds until then"""
    where: str = ""
    """the machine of a running run whose process cannot be seen from here"""
    error: str = ""

    @property
    def live(self) -> bool:
        """Whether something is happening."""
        return self.state in ("running", "starting")


class WatchedRun:
    """A run directory, or the place where a trial's will be, that is looked at again and again."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.place = study_place(path)
        self.history = History(path / METRICS)
        self.owner: Owner | None = None
        self.finished = False
        self._config: tuple[int, Config] | None = None

    def config(self) -> Config:
        """Its configuration, or the one that its study hands to it; `UserError` if that cannot be read."""
        file = self.path / CONFIG if self.begun or self.place is None else self.place.config_file
        try:
            written = file.stat().st_mtime_ns
            if self._config is None or self._config[0] != written:  # a resumed run may go further than it was to
                self._config = written, read_config(file)
        except OSError as error:
            raise UserError(f"cannot read {file}: {error.strerror or error}") from error
        return self._config[1]

    @property
    def begun(self) -> bool:
        """Whether its folder is there."""
        return (self.path / CONFIG).is_file()

    def look(self, now: float) -> View:
        """How it stands at the time ``now``. Files that cannot be read make it a failed run that says so."""
        self.history.update()
        vitals = self.owner.vitals() if self.owner else None
        if vitals is None:
            self.owner = None
        try:
            view = self._view(now, vitals)
        except (UserError, OSError) as error:
            view = View(self.name, "failed", self.history, vitals=vitals, error=str(error))
        self.finished = view.state == "finished"
        return view

    def _view(self, now: float, vitals: Vitals | None) -> View:
        run = Run(self.path) if self.begun else None
        summary = (run.summary if run else None) or {}
        status = str(summary.get("status", "running")) if run else None
        where = self._elsewhere(run, now) if run and not vitals and status == "running" else ""
        state, error = self._state(status, bool(vitals), bool(where))
        if not run and not vitals:
            return View(self.name, state, self.history, error=error)
        last = summary.get("max_steps") or self.config().train.max_steps
        view = View(
            self.name, state, self.history, last, str(summary.get("architecture") or ""), vitals,
            where=where, error=error or str(summary.get("error") or ""),
        )  # fmt: skip
        if not view.live:
            return view
        since = vitals.since if vitals else 0.0
        following = next_checkpoint(self.config(), self.history.progress.step)
        return replace(
            view,
            seconds_left=self.history.seconds_to(view.max_steps, now, since),
            checkpoint=following,
            checkpoint_in=None if following is None else self.history.seconds_to(following, now, since),
        )

    def _state(self, status: str | None, alive: bool, elsewhere: bool) -> tuple[State, str]:
        """From what the run says of itself to how it stands, and what its study noted about its end."""
        if alive and status != "finished":
            return "running" if status == "running" else "starting", ""
        for settled in ("finished", "diverged"):
            if status == settled:
                return settled, ""
        if self.place is not None and (noted := read_note(self.place.error_file)) is not None:
            return "failed", noted
        if status is None:
            return "waiting", ""
        if status == "running":
            return "running" if elsewhere else STOPPED, ""
        return "failed" if status == "failed" else "interrupted", ""

    def _elsewhere(self, run: Run, now: float) -> str:
        """Whose process it is, if not one to be seen from here and if the run wrote something lately."""
        host = str(run.environment.get("host") or platform.node())
        lock = self.path / LOCK
        others = hasattr(os, "getuid") and lock.exists() and os.getuid() not in (0, lock.stat().st_uid)
        wrote = max(file.stat().st_mtime for file in (self.path / CONFIG, self.path / METRICS) if file.exists())
        return host if (others or host != platform.node()) and now - wrote < PATIENCE else ""


class Watch:
    """Everything below ``folder``. Raises `UserError` if there is no such folder or no run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runs: dict[Path, WatchedRun] = {}
        self._studies: dict[Path, Owner] = {}
        self._scanned = 0.0
        self._stopped: set[str] = set()
        if not find_runs(folder, planned=True):
            raise UserError(f"there is no run directory in {folder} or below it")

    def look(self, now: float) -> list[View]:
        """Every run as it stands; folders and processes that are new are looked for every two seconds."""
        if abs(now - self._scanned) >= SCAN_SECONDS:
            self._scan()
            self._scanned = now
        views = [run.look(now) for run in self.runs.values()]
        stopped = {view.name for view in views if view.state == STOPPED}
        if stopped - self._stopped:  # it may have begun after the processes were last looked through
            self._scan()
            again = {run.name: run.look(now) for run in self.runs.values() if run.name in stopped}
            views = [again.get(view.name, view) for view in views]
        self._stopped = stopped
        return views

    def active(self, views: list[View]) -> bool:
        """Whether anything is running, or may yet be started by a study that is."""
        if any(view.live for view in views):
            return True
        return self.folder not in self.runs and any(owner.vitals() for owner in self._studies.values())

    def _scan(self) -> None:
        self.runs = {
            path: self.runs.get(path) or WatchedRun(path, display_name(self.folder, path))
            for path in find_runs(self.folder, planned=True)
        }
        open_runs = [run for run in self.runs.values() if run.owner is None and not run.finished]
        self._studies = {folder: owner for folder, owner in self._studies.items() if owner.vitals()}
        studies = {run.place.folder for run in self.runs.values() if run.place} - set(self._studies)
        configs = [run.place.config_file for run in open_runs if run.place]
        found = find_owners({run.path for run in open_runs} | studies, configs)
        for run in open_runs:
            run.owner = found.get(run.path) or (found.get(run.place.config_file) if run.place else None)
        self._studies |= {folder: owner for folder in studies if (owner := found.get(folder))}


def next_checkpoint(config: Config, step: int) -> int | None:
    """The step of the next checkpoint after ``step``; None if there will be none."""
    every, last = config.train.save_every, config.train.max_steps
    following = (step // every + 1) * every
    if following < last:
        return following
    return last if config.train.checkpoint_at_end and step < last else None


def display_name(folder: Path, run: Path) -> str:
    """A run's path below ``folder`` without what says nothing: ``demo/runs/gelu/seed-0`` is ``demo/gelu/seed-0``."""
    parts = [part for part in run.relative_to(folder).parts if part != "runs"]
    place = study_place(run)
    return "/".join(parts) or (place.trial if place else run.resolve().name)
