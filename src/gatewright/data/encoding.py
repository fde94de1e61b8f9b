"""Making shards, by this process or by several."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import IO

from gatewright.data import shards
from gatewright.data.shards import DISK_FAILED, Job, encode_shard, finished
from gatewright.data.spool import Spool
from gatewright.data.tokenization import load_tokenizer
from gatewright.errors import RunError
from gatewright.hardware.cores import available_cores

POLL_SECONDS = 0.02


def encode(
    work: Path, jobs: Sequence[Job], spool: Spool, processes: int | None, on_bytes: Callable[[int], None]
) -> None:
    """Make the shards ``jobs`` in ``work``, where ``spool`` and ``tokenizer`` lie.

    With ``processes`` above 1 (None: as many as there are cores) every shard gets a process of its own, so many at a
    time, each with one thread: per core that is faster than the threads a tokenizer has of its own. A text that makes
    one shard is encoded here, with those threads. Raises `RunError` if a process dies; what was made stays.
    """
    size = sum(split.bytes for split in spool.sizes.values())
    processes = min(processes or available_cores(), len(jobs), size // shards.SMALLEST)
    try:
        if processes > 1:
            _in_processes(work, jobs, processes, on_bytes)
        elif jobs:
            tokenizer = load_tokenizer(work / "tokenizer")
            for job in jobs:
                encode_shard(work, job, spool, tokenizer, on_bytes)
    finally:
        for left in work.glob(f".*{shards.PART}"):  # by processes that were killed, now or earlier
            left.unlink()


def _in_processes(work: Path, jobs: Sequence[Job], processes: int, on_bytes: Callable[[int], None]) -> None:
    waiting = deque(jobs)
    running: dict[_Process, Job] = {}
    try:
        while waiting or running:
            while waiting and len(running) < processes:
                job = waiting.popleft()
                running[_Process(work, job)] = job
            time.sleep(POLL_SECONDS)
            for process in [process for process in running if process.ended()]:
                process.check(work)
                on_bytes(finished(work, running.pop(process)).bytes)
    finally:
        for process in running:
            process.kill()


class _Process:
    """A Python process that makes one shard. It imports this package alone, not the program that it belongs to."""

    def __init__(self, work: Path, job: Job) -> None:
        self.name = job.name
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "TOKENIZERS_PARALLELISM": "false",
        }
        self._popen = subprocess.Popen(
            [sys.executable, "-c", "from gatewright.data.shards import main; main()", work, *map(str, astuple(job))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
            env=environment,
        )

    def ended(self) -> bool:
        return self._popen.poll() is not None

    def check(self, work: Path) -> None:
        """Raise what ended the process, unless it did its work."""
        status = self._popen.returncode
        if status == 0:
            return
        self._errors.seek(0)
        last = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
        if status == DISK_FAILED and last.isdigit():
            raise OSError(int(last), os.strerror(int(last)))
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        why = f" ({last})" if last else ""
        raise RunError(f"{work}: the process that made {self.name} {how}{why}; the same command goes on from there")

    def kill(self) -> None:
        self._popen.kill()
        self._popen.wait()
