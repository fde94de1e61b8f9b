"""Trials as processes on this machine."""

from __future__ import annotations

from gatewright.study.launch.attempt import Attempt
from gatewright.study.launch.job import Launcher
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

    def shares(self, workers: int | None) -> tuple[int, int]:
        """Two at a time, or as many as there are cores, sharing them; or as many as find ``cpus`` cores each."""
        return share_cores(workers, self.resources.cpus)

    def start(self, trial: Trial, folder: StudyFolder, attempt: Attempt) -> TrialProcess:
        """Start a process."""
        return TrialProcess(trial, attempt)
