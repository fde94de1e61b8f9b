"""Trials on a Ray cluster: each is started by an actor that holds its resources.

Ray ends the actors of a study that is gone, and their trials with them: nothing is left to be adopted, and what they
did since their last checkpoints is done again.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
from types import TracebackType
from typing import Any

from gatewright.data.extras import import_extra
from gatewright.errors import UserError
from gatewright.reading import complaint
from gatewright.study.launch.attempt import Attempt
from gatewright.study.launch.job import Ending, Job, Launcher, LaunchError
from gatewright.study.launch.node import TrialActor
from gatewright.study.launch.resources import Resources
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial

CONNECT_SECONDS = 10.0


class RayLauncher(Launcher):
    """A trial takes ``cpus`` (1), ``gpus`` (0) and ``memory`` of the cluster, which decides where and when it runs."""

    name = "ray"

    def __init__(self, resources: Resources | None = None, address: str | None = None) -> None:
        """``address`` is that of the cluster, such as ``auto`` or ``10.0.0.1:6379``; without it ``RAY_ADDRESS``.

        Where neither is given, a cluster of this machine alone is started, and ended afterwards. A connection
        that exists is used, and left as it is. Raises `UserError` without ray.
        """
        self._ray = import_extra("ray", "cluster", "launcher ray")
        super().__init__(resources)
        self.resources.only(self.name, "cpus", "gpus", "memory")
        self._address = address
        self._connected = False

    def __enter__(self) -> RayLauncher:
        """Connect; `UserError` if no cluster answers at the address."""
        if self._ray.is_initialized():
            return self
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        main = threading.current_thread() is threading.main_thread()
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _check_answers(self._where)
            self._ray.init(
                address=self._address, include_dashboard=False if self._where == "local" else None, log_to_driver=False,
                logging_level=logging.ERROR,
            )  # fmt: skip
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"launcher ray: no Ray cluster at {self._where}: {complaint(error)}") from error
        finally:
            if main:
                signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
        self._connected = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Disconnect, if this connected."""
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    @property
    def _where(self) -> str:
        """The address, ``local`` for a cluster that is started here."""
        return self._address or os.environ.get("RAY_ADDRESS") or "local"

    def start(self, trial: Trial, folder: StudyFolder, attempt: Attempt) -> RayJob:
        """Create the trial's actor, which waits until the cluster has room."""
        wanted: dict[str, Any] = {"num_cpus": self.resources.cpus or 1, "num_gpus": self.resources.gpus or 0}
        if self.resources.memory is not None:
            wanted["memory"] = self.resources.memory
        try:
            actor = self._ray.remote(**wanted, max_restarts=0)(TrialActor).remote(attempt)
        except (ConnectionError, self._ray.exceptions.RayError) as error:
            raise LaunchError(f"ray: {complaint(error)}") from error
        return RayJob(self._ray, trial, actor)


def _check_answers(address: str) -> None:
    """Raise `OSError` if nothing answers at ``host:port``; Ray itself would wait for it without end."""
    if found := re.fullmatch(r"\[?([\w.:-]+?)\]?:(\d{1,5})", address):
        socket.create_connection((found[1], int(found[2])), timeout=CONNECT_SECONDS).close()


class RayJob(Job):
    """A trial's actor, seen from the study."""

    def __init__(self, ray: Any, trial: Trial, actor: Any) -> None:
        self.trial, self._ray, self._actor = trial, ray, actor
        self._begun = False
        self._answer = actor.poll.remote()
        self._ending: Ending | None = None

    def running(self) -> bool:
        """Whether it has not ended."""
        if self._ending is None:
            self._look()
        return self._ending is None

    def queued(self) -> bool:
        """Whether the actor waits for room."""
        return not self._begun

    def stop(self) -> None:
        """Ask it to save and leave; an actor that has not begun is ended."""
        if self._begun:
            self._actor.stop.remote()
        else:
            self._ray.kill(self._actor)

    def kill(self) -> None:
        """End trial and actor."""
        if self._begun and self.running():
            self._ray.wait([self._actor.kill.remote()], timeout=10)
        self._ray.kill(self._actor)

    def ending(self) -> Ending:
        """The trial's exit status, or what Ray says of an actor it lost."""
        assert self._ending is not None
        return self._ending

    def _look(self) -> None:
        ready, _ = self._ray.wait([self._answer], timeout=0)
        if not ready:
            return
        errors = self._ray.exceptions
        try:
            code = self._ray.get(self._answer)
        except errors.ActorUnavailableError:
            code = None  # for a moment
        except errors.RayError as error:
            cause = getattr(error, "cause", None) or error
            self._ending = Ending(None, f"ray: {complaint(cause)}")
            return
        self._begun = True
        if code is None:
            self._answer = self._actor.poll.remote()
        else:
            self._ending = Ending(code)
            self._ray.kill(self._actor)  # its room is free now
