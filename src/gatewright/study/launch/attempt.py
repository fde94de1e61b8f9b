"""Starting a trial's process, here or on a node of a cluster. Importing this costs nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Protocol


@dataclass(frozen=True)
class Attempt:
    """What starts a trial, wherever it runs: plain values, which travel to another machine."""

    arguments: list[str]
    log: str
    threads: int
    folder: str = field(default_factory=os.getcwd)
    """where the study was started, from which relative paths in a configuration are meant"""
    settings: dict[str, str] = field(
        default_factory=lambda: {key: value for key, value in os.environ.items() if key.startswith("GATEWRIGHT_")}
    )
    """the study's own environment variables, such as the place of the cache"""

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables of the trial, on top of those of the machine it runs on."""
        count = str(self.threads)
        return os.environ | self.settings | {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
        }  # fmt: skip


def spawn(attempt: Attempt, *, leashed: bool = False) -> subprocess.Popen[bytes]:
    """Start the attempt's process here. What it prints goes to its log, behind what earlier attempts printed.

    ``leashed``: it is asked to leave if this thread dies.
    """
    arguments, environment = attempt.arguments, attempt.environment
    if leashed:
        arguments = [sys.executable, "-m", "gatewright.study.launch.leash", *arguments]
        environment["GATEWRIGHT_PARENT"] = str(os.getpid())
    with open_log(attempt) as log:
        # a session of its own: Ctrl-C reaches the study alone, which decides what its trials are told
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=attempt.folder,
            start_new_session=True,
        )


@contextmanager
def open_log(attempt: Attempt) -> Iterator[IO[bytes]]:
    """The attempt's log, to be written to behind a line that says what is started."""
    with Path(attempt.log).open("ab", buffering=0) as log:
        log.write(f"--- {datetime.now():%Y-%m-%d %H:%M:%S} {subprocess.list2cmdline(attempt.arguments)}\n".encode())
        yield log


UNKNOWN = 255
"""In place of an exit status that nobody could ask for."""


class Process(Protocol):
    """What is used of a `subprocess.Popen`."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self) -> object: ...
    def terminate(self) -> None: ...


def kill_group(process: Process) -> None:
    """End a process that was started for an attempt, and whatever it started, at once."""
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    else:
        process.terminate()  # there is no gentler end on Windows, nor a harder one
    process.wait()
