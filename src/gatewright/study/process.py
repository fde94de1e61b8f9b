"""One trial as a process of its own: starting it, asking it to stop, and saying how it ended."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from gatewright.errors import UserError
from gatewright.files import write_atomic
from gatewright.hardware.cores import available_cores
from gatewright.study.launch.attempt import UNKNOWN, Process, kill_group
from gatewright.study.launch.job import Ending, Job
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.watch.vitals import configs_on

Command = Callable[[Path, list[str]], list[str]]
"""From a trial's configuration file and overrides to the command that runs it."""

DEFAULT_WORKERS = 2
LOG_TAIL_BYTES = 8_192
ORPHAN_PATIENCE = 60.0


def share_cores(workers: int | None, cpus: int | None = None) -> tuple[int, int]:
    """How many trials run at a time (as asked, or two, or as many as there are cores), and each one's threads.

    With ``cpus`` each has so many threads, and by default as many run as find them.
    """
    if workers is not None and workers < 1:
        raise UserError(f"workers={workers}: at least one is needed")
    if cpus is not None:
        return workers or max(1, available_cores() // cpus), cpus
    workers = workers or min(DEFAULT_WORKERS, available_cores())
    return workers, max(1, available_cores() // workers)


def train_command(config_file: Path, overrides: list[str]) -> list[str]:
    """The ordinary way: ``gatewright train`` in a fresh interpreter."""
    return [sys.executable, "-m", "gatewright", "train", "--config", str(config_file), *overrides]


class TrialProcess(Job):
    """A trial that runs on this machine."""

    def __init__(self, trial: Trial, process: Process) -> None:
        self.trial = trial
        self._process = process

    def running(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def queued(self) -> bool:
        """Never."""
        return False

    def stop(self) -> None:
        """Ask it to save a checkpoint and leave."""
        self._process.terminate()

    def kill(self) -> None:
        """End it, and whatever it started, at once."""
        kill_group(self._process)

    def wait(self) -> None:
        """Wait for its end."""
        self._process.wait()

    def ending(self) -> Ending:
        """Its exit status."""
        code = self._process.returncode
        return Ending(None, "lost with the process that had started it") if code == UNKNOWN else Ending(code)


def note_failure(trial: Trial, folder: StudyFolder, how: str) -> str:
    """Write down, and return, why a process that has ended did not finish its run: its last words, and ``how``."""
    said = last_line(folder.log_file(trial))
    error = f"{said} ({how})" if said else how
    write_atomic(folder.error_file(trial), error + "\n")
    return error


def last_line(log: Path) -> str:
    """The last line with something on it of the newest attempt in a trial's log."""
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    lines = [line for line in lines if line]
    return lines[-1][:500].removeprefix("gatewright: ") if lines and not lines[-1].startswith("--- ") else ""


def trial_processes(folder: StudyFolder, trials: Iterable[Trial]) -> dict[Trial, psutil.Process]:
    """The live processes of a study's trials on this machine, known by the configuration file they were given."""
    by_file = {str(folder.config_file(trial)): trial for trial in trials}
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid():
            for file in configs_on(process.info["cmdline"] or (), by_file):
                found[by_file[file]] = process
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
