"""The processes behind runs: which one has a run in hand, and what it takes of the machine."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

LOCK = ".lock"
"""The file that a process training in a folder, or running a study in one, holds open."""


@dataclass(frozen=True)
class Vitals:
    """A live process: its share of the machine, and since when it runs."""

    pid: int
    cpu_percent: float | None
    """since it was last looked at, 100 being one core; None at the first look"""
    memory_bytes: int
    since: float


class Owner:
    """The process that has a folder in hand, remembered until it ends."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._looked = False

    def vitals(self) -> Vitals | None:
        """Its numbers now; None once it has ended."""
        process = self._process
        try:
            with process.oneshot():
                if not is_live(process):
                    return None
                cpu = process.cpu_percent()
                shown = cpu if self._looked else None
                self._looked = True
                return Vitals(process.pid, shown, process.memory_info().rss, process.create_time())
        except psutil.NoSuchProcess:
            return None


def find_owners(folders: Collection[Path], configs: Collection[Path] = ()) -> dict[Path, Owner]:
    """By folder, the live process that holds its lock; by file, the one that is to train with that configuration.

    A trial of a study has the latter on its command line from its first moment, and its run's lock only once the data
    are ready. Processes of other users cannot be looked into and are not found.
    """
    locks = {os.path.realpath(folder / LOCK): folder for folder in folders}
    given = {str(file.absolute()): file for file in configs}
    found: dict[Path, Owner] = {}
    if not locks and not given:
        return found
    for process in psutil.process_iter():
        if process.pid == os.getpid():
            continue
        try:
            command = process.cmdline()
            held = [locks[file.path] for file in process.open_files() if file.path in locks]
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        held += [given[file] for file in configs_on(command, given)]
        found.update((key, Owner(process)) for key in held)
    return found


def is_live(process: psutil.Process) -> bool:
    """Whether it has not ended. One that nobody has asked how it ended has."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def configs_on(command: Collection[str], files: Iterable[str]) -> list[str]:
    """Those of ``files`` with which a process's command line trains.

    The words are put together first: a process that was forked and given its command as a title has but one.
    """
    line = f" {' '.join(command)} "
    return [file for file in files if f" {file} " in line] if " train " in line else []
