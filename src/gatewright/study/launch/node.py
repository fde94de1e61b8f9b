"""What runs on a node of a cluster, beside the trial. Importing this costs nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from types import FrameType

from gatewright.files import write_atomic
from gatewright.study.launch.attempt import Attempt, kill_group, spawn


class TrialActor:
    """A trial on a node of Ray: starts it, and tells how it is."""

    def __init__(self, attempt: Attempt) -> None:
        self._process = spawn(attempt, leashed=True)

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask the trial to save and leave."""
        self._process.terminate()

    def kill(self) -> None:
        """End the trial at once."""
        kill_group(self._process)


def exit_file(jobs: Path, job: str) -> Path:
    """Where the exit status of a job's trial is noted."""
    return jobs / f"{job}.exit"


def run_attempt(attempt: Attempt, jobs: str) -> int:
    """The job's work, on its node: start the trial, pass on the wish to leave, note the exit status; returns it.

    SLURM signals every process of a job. The trial is asked by SIGINT, so that it takes neither SLURM's SIGTERM nor
    this for a second wish, which is an order; and it ignores SIGUSR2, the warning before the time limit.
    """
    import submitit

    file = exit_file(Path(jobs), submitit.JobEnvironment().job_id)
    file.unlink(missing_ok=True)
    wish = _Wish()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # as the trial will inherit it
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, wish.note)
    process = wish.process = spawn(attempt, leashed=True)
    signal.signal(signal.SIGUSR2, wish.note)
    if wish.came:
        wish.tell()
    code = process.wait()
    write_atomic(file, json.dumps({"code": code, "node": os.uname().nodename}) + "\n")
    return code


class _Wish:
    """Tells the trial once, whatever signals come and however often."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.came = self._told = False

    def note(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        self.tell()

    def tell(self) -> None:
        if self.process is not None and not self._told:
            self._told = True
            self.process.send_signal(signal.SIGINT)
