"""Scoring in a process that can be killed, so that a scorer that never returns costs one completion its reward."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from gatewright.errors import RunError, UserError

if TYPE_CHECKING:
    from gatewright.rl.rewards.base import Reward

START_LIMIT = 120.0
"""Seconds until the process must have imported what it needs."""


@dataclass(frozen=True)
class Scored:
    """A score."""

    value: float


@dataclass(frozen=True)
class Raised:
    """A scorer that raised, or whose score is no finite number."""

    error: str


@dataclass(frozen=True)
class Died:
    """A scorer that took its process with it."""

    error: str


@dataclass(frozen=True)
class TimedOut:
    """A scorer that did not return in time."""


Item = tuple[str, dict[str, Any]]
"""A completion and its columns."""

Outcome = Scored | Raised | Died | TimedOut


class Isolated:
    """A reward's scores, computed in another process, which is started at the first use and after every kill."""

    def __init__(self, reward: Reward) -> None:
        module = sys.modules[type(reward).__module__]
        self._file = getattr(module, "__file__", None)
        if module.__name__ == "__main__":
            raise UserError(
                f"reward '{reward.__name__}' has a time limit and stands in the program itself: put it into a file of "
                "its own and import it, so that another process can"
            )
        self._module, self._pickled = module.__name__, pickle.dumps(reward)
        self._process: _Process | None = None
        self._lock = threading.Lock()

    def run(self, items: Sequence[Item], time_limit: float) -> Iterator[Outcome]:
        """One outcome for each item, in order. Raises `RunError` if the process cannot be started."""
        with self._lock:
            outcomes: list[Outcome] = []
            while len(outcomes) < len(items):
                process = self._started()
                process.send(list(items[len(outcomes) :]))
                outcomes += self._collect(process, len(items) - len(outcomes), time_limit)
        return iter(outcomes)

    def _collect(self, process: _Process, count: int, time_limit: float) -> list[Outcome]:
        """Outcomes up to the last item, or up to the first one that costs the process its life."""
        outcomes: list[Outcome] = []
        while len(outcomes) < count:
            try:
                outcomes.append(process.receive(time_limit))
            except queue.Empty:
                outcomes.append(TimedOut())
            except EOFError:
                outcomes.append(Died("the scorer ended its process"))
            else:
                continue
            process.kill()
            self._process = None
            break
        return outcomes

    def _started(self) -> _Process:
        if self._process is None:
            process = _Process()
            process.send((self._module, self._file, self._pickled))
            try:
                problem = process.receive(START_LIMIT)
            except (queue.Empty, EOFError) as error:
                process.kill()
                raise RunError(f"the process that scores completions does not start: {process.complaint()}") from error
            if problem is not None:
                process.kill()
                raise RunError(f"the process that scores completions does not start: {problem}")
            self._process = process
        return self._process


class _Process:
    """A Python process that runs `gatewright.rl.rewards.worker`, spoken to in pickles."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._popen = subprocess.Popen(
            [sys.executable, "-c", "from gatewright.rl.rewards.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
        )
        self._replies: queue.Queue[Any] = queue.Queue()
        assert self._popen.stdout is not None
        threading.Thread(target=_listen, args=(self._popen.stdout, self._replies), daemon=True).start()
        self._finalizer = weakref.finalize(self, _end, self._popen)

    def send(self, message: Any) -> None:
        assert self._popen.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which `receive` says
            pickle.dump(message, self._popen.stdin)
            self._popen.stdin.flush()

    def receive(self, time_limit: float) -> Any:
        """The next reply; raises `queue.Empty` when the time is up and `EOFError` when the process has ended."""
        kind, reply = self._replies.get(timeout=time_limit)
        if kind == "end":
            raise EOFError
        return reply

    def kill(self) -> None:
        self._finalizer()

    def complaint(self) -> str:
        """The last line that the process wrote to its standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), f"no word within {START_LIMIT:g} s")


def _listen(stream: IO[bytes], replies: queue.Queue[Any]) -> None:
    with stream:
        try:
            while True:
                replies.put(("reply", pickle.load(stream)))
        except (EOFError, OSError, pickle.UnpicklingError):
            replies.put(("end", None))


def _end(popen: subprocess.Popen[bytes]) -> None:
    popen.kill()
    popen.wait()
    if popen.stdin is not None:
        with suppress(BrokenPipeError):  # what was left to write has nobody to read it
            popen.stdin.close()
