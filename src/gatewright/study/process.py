"""One trial as a process of its own: starting it, asking it to stop, and saying how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

import psutil

from gatewright.errors import UserError
from gatewright.files import write_atomic
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial

Command = Callable[[Path, list[str]], list[str]]
"""From a trial's configuration file and overrides to the command that runs it."""

DEFAULT_WORKERS = 2
LOG_TAIL_BYTES = 8_192
ORPHAN_PATIENCE = 60.0


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(workers: int | None) -> tuple[int, int]:
    """How many trials run at a time (as asked, or two, or as many as there are cores), and each one's threads."""
    if workers is not None and workers < 1:
        raise UserError(f"workers={workers}: at least one is needed")
    workers = workers or min(DEFAULT_WORKERS, available_cores())
    return workers, max(1, available_cores() // workers)


def train_command(config_file: Path, overrides: list[str]) -> list[str]:
    """The ordinary way: ``gatewright train`` in a fresh interpreter."""
    return [sys.executable, "-m", "gatewright", "train", "--config", str(config_file), *overrides]


class TrialProcess:
    """A running trial. What it prints goes to its log, behind what earlier attempts printed."""

    def __init__(self, trial: Trial, folder: StudyFolder, command: Command, threads: int, overrides: list[str]) -> None:
        """Start the trial with ``threads`` CPU threads."""
        self.trial, self._folder = trial, folder
        arguments = command(folder.config_file(trial), overrides)
        folder.error_file(trial).unlink(missing_ok=True)
        count = str(threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "200",
        }
        with folder.log_file(trial).open("ab") as log:
            log.write(f"--- {datetime.now():%Y-%m-%d %H:%M:%S} {subprocess.list2cmdline(arguments)}\n".encode())
            log.flush()
            # a session of its own: Ctrl-C reaches the study alone, which decides what its trials are told
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )

    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to save a checkpoint and leave."""
        self._process.terminate()

    def kill(self) -> None:
        """End it, and whatever it started, at once."""
        if os.name == "posix":
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                return
        else:
            self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()

    def note_failure(self) -> str:
        """Write down, and return, why a process that has ended did not finish its run."""
        code = self._process.returncode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        said = last_line(self._folder.log_file(self.trial))
        error = f"{said} ({how})" if said else how
        write_atomic(self._folder.error_file(self.trial), error + "\n")
        return error


def last_line(log: Path) -> str:
    """The last line with something on it of the newest attempt in a trial's log."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    return lines[-1][:500].removeprefix("gatewright: ") if lines and not lines[-1].startswith("--- ") else ""


def trial_processes(folder: StudyFolder, trials: Iterable[Trial]) -> dict[Trial, psutil.Process]:
    """The live processes of a study's trials, known by the configuration file on their command line."""
    by_file = {str(folder.config_file(trial)): trial for trial in trials}
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or ()
        for argument in command:
            if argument in by_file and "train" in command and process.pid != os.getpid():
                found[by_file[argument]] = process
    return found


def stop_orphans(folder: StudyFolder, trials: Iterable[Trial]) -> int:
    """Stop trials that outlived a study which was killed, letting them save; returns how many there were.

    One that has not left after a minute is killed.
    """
    orphans = list(trial_processes(folder, trials).values())
    for process in orphans:
        process.terminate()
    _, stubborn = psutil.wait_procs(orphans, timeout=ORPHAN_PATIENCE)
    for process in stubborn:
        process.kill()
    psutil.wait_procs(stubborn, timeout=ORPHAN_PATIENCE)
    return len(orphans)
