"""Trials as processes on this machine."""

from __future__ import annotations

from types import TracebackType

from gatewright.study.launch.attempt import Attempt, spawn
from gatewright.study.launch.job import Launcher
from gatewright.study.launch.nursery import Nursery, can_fork, imports_of
from gatewright.study.launch.resources import Resources
from gatewright.study.process import TrialProcess, share_cores
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial


class LocalLauncher(Launcher):
    """Processes that share this machine's cores. Each sees every GPU there is."""

    name = "local"
    here = True

    def __init__(self, resources: Resources | None = None) -> None:
        """Raises `UserError` for any resource other than ``cpus``."""
        super().__init__(resources)
        self.resources.only(self.name, "cpus")
        self._nursery: Nursery | None = None

    def shares(self, workers: int | None) -> tuple[int, int]:
        """Two at a time, or as many as there are cores, sharing them; or as many as find ``cpus`` cores each."""
        return share_cores(workers, self.resources.cpus)

    def start(self, trial: Trial, folder: StudyFolder, attempt: Attempt) -> TrialProcess:
        """Start a process: forked where that works, and else in a fresh interpreter."""
        if not can_fork(attempt):
            return TrialProcess(trial, spawn(attempt))
        if self._nursery is None or not self._nursery.alive:
            self._nursery = Nursery(attempt, imports_of(folder.config_file(trial)))
        return TrialProcess(trial, self._nursery.spawn(attempt))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._nursery is not None:
            self._nursery.close()
            self._nursery = None
