"""What every launcher hands back: a trial that waits in a queue, runs, or has ended."""

from __future__ import annotations

import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from gatewright.errors import RunError, UserError
from gatewright.study.launch.resources import Resources
from gatewright.study.trial import Trial

if TYPE_CHECKING:
    from gatewright.study.launch.attempt import Attempt
    from gatewright.study.store import StudyFolder

LEFT = 130
"""The exit status of a run that was asked to leave."""

POLL_SECONDS = 0.5


class LaunchError(RunError):
    """A trial could not be handed to its cluster, for a reason that may pass."""


@dataclass(frozen=True)
class Ending:
    """How a trial's process ended."""

    code: int | None
    """its exit status, or minus the number of the signal that killed it; None: it was lost without a word"""
    said: str = ""
    """what the cluster says of a job that was lost"""
    cancelled: bool = False
    """somebody took the job out of the queue"""

    @property
    def how(self) -> str:
        """In words."""
        if self.code is None:
            return self.said
        return f"killed by {signal.Signals(-self.code).name}" if self.code < 0 else f"exit status {self.code}"

    @property
    def may_pass(self) -> bool:
        """Whether another attempt may fare better: it was killed or lost, or asked to leave; it did not give up."""
        if self.code is None:
            return not self.cancelled
        return self.code < 0 or self.code >= 128  # 128 + the signal, as shells say it


class Job(ABC):
    """A trial that was started."""

    trial: Trial
    name: str = ""
    """what its cluster calls it"""

    @abstractmethod
    def running(self) -> bool:
        """Whether it has not ended: it waits in a queue, or runs."""

    @abstractmethod
    def queued(self) -> bool:
        """Whether it still waits in a queue, as far as is known."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to save a checkpoint and leave; take it out of the queue if it has not begun."""

    @abstractmethod
    def kill(self) -> None:
        """End it, and whatever it started, at once."""

    @abstractmethod
    def ending(self) -> Ending:
        """How it ended, once it is not running."""

    def wait(self) -> None:
        """Wait for its end."""
        while self.running():
            time.sleep(POLL_SECONDS)


class Launcher(ABC):
    """Starts trials somewhere. A context: inside it trials can be started."""

    name: str
    here = False
    """whether trials run on this machine, so that measuring it says how long they take"""

    def __init__(self, resources: Resources | None = None) -> None:
        self.resources = resources or Resources()

    def shares(self, workers: int | None) -> tuple[int | None, int]:
        """Trials at a time, and the threads of each.

        On a cluster that is as many as are asked for, or None: all that are ready, since the cluster decides; and a
        core each, or ``cpus``. Raises `UserError` for no workers.
        """
        if workers is not None and workers < 1:
            raise UserError(f"workers={workers}: at least one is needed")
        return workers, self.resources.cpus or 1

    @abstractmethod
    def start(self, trial: Trial, folder: StudyFolder, attempt: Attempt) -> Job:
        """Start a trial, or put it into the queue; `LaunchError` if that does not work just now."""

    def adopt(self, folder: StudyFolder, trials: Iterable[Trial]) -> list[Job]:
        """The jobs of an earlier start, which ended without them, that go on."""
        return []

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
