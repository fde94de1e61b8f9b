"""Real processes to be killed, starved and misled: ``gatewright …`` with all its files, without importing it each time.

They are forked from a server that has imported Gatewright already (`multiprocessing`'s), change into a folder of their
own, and call the command line as the shell would. What stands between them and the real thing is the import.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    ["gatewright.training.start", "gatewright.study", "gatewright.cli", "torch._dynamo",
     "torch._inductor.standalone_compile", "torch.distributed.tensor"]
)  # fmt: skip
PATIENCE = 240.0


@dataclass(frozen=True)
class Ended:
    """How a process ended: its exit status (negative: the signal), and what it said."""

    status: int
    said: str

    @property
    def complaint(self) -> str:
        """The one line that says what went wrong."""
        lines = [line for line in self.said.splitlines() if line.startswith("gatewright: ")]
        assert len(lines) == 1, self.said
        assert "Traceback" not in self.said, self.said
        return lines[0].removeprefix("gatewright: ")


class Started:
    """A process that runs ``gatewright`` with ``arguments`` in ``folder``.

    ``before`` is called in it first: what it does to the process is what goes wrong.
    """

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        before: Callable[[], object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = folder / f"said-{time.monotonic_ns()}.txt"
        given = (folder, self.log, arguments, before, {**os.environ, "COLUMNS": "300", **(environment or {})})
        self.process = SERVER.Process(target=_gatewright, args=given)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_for(self, condition: Callable[[], object]) -> None:
        """Until ``condition`` holds, while the process lives."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.is_alive(), self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.005)

    def kill(self) -> None:
        """End it as ``kill -9`` does."""
        os.kill(self.pid, signal.SIGKILL)

    def end(self) -> Ended:
        """Wait for its end."""
        self.process.join(PATIENCE)
        if self.process.is_alive():
            self.kill()
            raise AssertionError(f"it does not end; it said: {self.said}")
        assert self.process.exitcode is not None
        return Ended(self.process.exitcode, self.said)


def gatewright(
    folder: Path,
    *arguments: str,
    before: Callable[[], object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Ended:
    """Run a command to its end."""
    return Started(folder, *arguments, before=before, environment=environment).end()


def _gatewright(
    folder: Path,
    log: Path,
    arguments: tuple[str, ...],
    before: Callable[[], object] | None,
    environment: dict[str, str],
) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.chdir(folder)
    os.environ.update(environment)
    sys.argv = ["gatewright", *arguments]
    if before is not None:
        before()
    from gatewright.cli import main

    try:
        main()
    finally:
        with contextlib.suppress(OSError):  # a full disk has no room for last words either
            sys.stdout.flush()
            sys.stderr.flush()
