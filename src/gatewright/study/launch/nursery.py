"""Trials forked from a process that has imported what they need, so that a start costs a second and not seven.

The nursery is a process beside the study. It does little but import, so that it has one thread and may be forked
(on Linux; macOS's frameworks do not bear it), and each request over its socket is answered by a line of JSON:
``{"start": attempt}`` by a process's number, ``{"poll": number}`` by the exit status, or null while it runs. It leaves
when the socket is closed; its trials then go on, as those of a killed study do.
"""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import psutil

from gatewright.reading import parse_yaml
from gatewright.study.launch.attempt import UNKNOWN, Attempt, open_log
from gatewright.study.launch.job import POLL_SECONDS, LaunchError
from gatewright.watch.vitals import is_live

COMMAND = [sys.executable, "-m", "gatewright"]
"""How the commands begin that a nursery can run."""

EVERY = (
    "gatewright.cli",
    "gatewright.training.start",
    "gatewright.training.text",
    "torch._dynamo",
    "torch.utils.tensorboard",
)
TASKS = ("gatewright.rl.learning.work", "gatewright.rl.supervised.work")
TRAINED = ("gatewright.hf.convert",)
COMPILED = (
    "torch._inductor.compile_fx",
    "torch._inductor.cpu_vec_isa:pick_vec_isa",
    "torch._inductor.codecache:torch_key",
)
"""What all trials import, those with a task, those that start from a trained model, and those that are compiled.

After a colon is what is called. Torch's compiler asks the machine for its vector instructions, and forms a key of
torch's files, once in a process: half of its time where it finds a small model in its cache.
"""


def can_fork(attempt: Attempt) -> bool:
    """Whether a nursery can run it."""
    return sys.platform == "linux" and attempt.arguments[: len(COMMAND)] == COMMAND


def imports_of(config_file: Path) -> list[str]:
    """What a run with this configuration imports, and calls, anyway."""
    values = parse_yaml(config_file.read_text(encoding="utf-8"))
    modules = [*EVERY]
    modules += TASKS if values.get("task") else ()
    modules += TRAINED if values.get("init") else ()
    modules += COMPILED if values.get("train", {}).get("compile") else ()
    return modules


class Nursery:
    """The study's side of it. Started with the environment, and the log, of the attempt it is first needed for."""

    def __init__(self, attempt: Attempt, modules: Sequence[str]) -> None:
        ours, theirs = socket.socketpair()
        with theirs, Path(attempt.log).open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=attempt.environment,
                start_new_session=True,
            )
        self._socket, self._lines = ours, ours.makefile("r", encoding="utf-8")

    def spawn(self, attempt: Attempt) -> ForkedProcess:
        """Start a trial; `LaunchError` if the nursery is gone."""
        return ForkedProcess(self, int(self.ask({"start": asdict(attempt)})))

    def ask(self, request: dict[str, Any]) -> Any:
        """The answer to one request; `LaunchError` if there is none."""
        try:
            self._socket.sendall(f"{json.dumps(request)}\n".encode())
            return json.loads(self._lines.readline())
        except (OSError, ValueError) as error:
            raise LaunchError("the process that forks trials has ended") from error

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._process.poll() is None

    def close(self) -> None:
        """Let it leave. No trial may be left to ask about."""
        self._lines.close()
        self._socket.close()
        self._process.wait()


class ForkedProcess:
    """A trial of a nursery, with the face of a `subprocess.Popen`."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._nursery = nursery
        self._process = psutil.Process(pid)

    def poll(self) -> int | None:
        """The exit status, or None while it runs; `UNKNOWN` if it ended after its nursery."""
        if self.returncode is None:
            try:
                self.returncode = self._nursery.ask({"poll": self.pid})
            except LaunchError:
                self.returncode = None if is_live(self._process) else UNKNOWN
        return self.returncode

    def wait(self) -> None:
        """Wait for its end."""
        while self.poll() is None:
            time.sleep(POLL_SECONDS)

    def terminate(self) -> None:
        """Ask it to leave."""
        if self.poll() is None:
            self._process.terminate()


def main() -> None:
    """The nursery's side: import, then fork for each request until the socket is closed."""
    with socket.socket(fileno=int(sys.argv[1])) as link, link.makefile("r", encoding="utf-8") as requests:
        gc.disable()
        for name in sys.argv[2:]:
            with suppress(ImportError, AttributeError):  # a trial that needs what is not installed says so itself
                found = resolve_name(name)
                if ":" in name:
                    found()
        gc.enable()
        gc.freeze()  # the collector would write to memory that the trials share
        for line in requests:
            ((wish, value),) = json.loads(line).items()
            if wish == "poll":
                pid, status = os.waitpid(value, os.WNOHANG)
                answer = os.waitstatus_to_exitcode(status) if pid else None
            else:
                answer = os.fork()
                if not answer:
                    break
                os.setpgid(answer, answer)  # so that it can be killed with all that it starts
            link.sendall(f"{json.dumps(answer)}\n".encode())
        else:
            return
    become(Attempt(**value))


def become(attempt: Attempt) -> None:
    """Run the attempt's command in this process, which was forked for it, and exit."""
    from setproctitle import setproctitle

    setproctitle(" ".join(attempt.arguments))  # it looks for the environment where the process found it
    os.chdir(attempt.folder)
    os.environ.update(attempt.environment)
    with open_log(attempt) as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
    sys.argv = attempt.arguments[len(COMMAND) - 1 :]

    from gatewright.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
