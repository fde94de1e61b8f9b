"""Trials as jobs of SLURM, submitted through submitit.

The job's process starts the trial and stays beside it: SLURM's signals (before the time limit, at pre-emption) become
the wish to save and leave, and the trial's exit status goes to ``jobs/<id>.exit`` in the study's folder. The study
reads that file and never a pickle. A job that left is submitted anew, by us and not by SLURM, so that the study knows.
"""

from __future__ import annotations

import math
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import psutil

from gatewright.data.extras import import_extra
from gatewright.errors import UserError
from gatewright.reading import complaint, parse_json
from gatewright.study.launch.attempt import Attempt
from gatewright.study.launch.job import Ending, Job, Launcher, LaunchError
from gatewright.study.launch.node import exit_file, run_attempt
from gatewright.study.launch.record import job_record
from gatewright.study.launch.resources import Resources
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial

ENDED = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED",
         "REVOKED", "TIMEOUT")  # fmt: skip
"""States of SLURM from which a job that is not requeued does not come back; some have words behind them."""

WARNING_SECONDS = 120
"""Time between SLURM's signal and its time limit, in which a trial saves."""

LAG_SECONDS = 10.0
"""How long a file written on a node may take to be seen here."""

LOCAL_MINUTES = 7 * 24 * 60


class SlurmLauncher(Launcher):
    """Each trial is a job of one task on one node. Jobs outlive the study's process, and its next start adopts them."""

    def __init__(self, resources: Resources | None = None, cluster: Literal["slurm", "local"] = "slurm") -> None:
        """``cluster="local"`` is submitit's stand-in for SLURM: processes on this machine.

        Raises `UserError` without submitit, or where there is no SLURM.
        """
        self._submitit = import_extra("submitit", "cluster", "launcher slurm")
        if cluster == "slurm" and not shutil.which("sbatch"):
            raise UserError("launcher slurm: there is no 'sbatch' here; start the study on a login node of the cluster")
        self.name = "slurm" if cluster == "slurm" else "submitit"
        super().__init__(resources)
        self._cluster = cluster

    def start(self, trial: Trial, folder: StudyFolder, attempt: Attempt) -> SlurmJob:
        """Submit a job."""
        jobs = folder.jobs
        try:
            executor = self._executor(jobs)
            executor.update_parameters(**self._parameters(trial))
            submitted = executor.submit(run_attempt, attempt, str(jobs))
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            raise LaunchError(f"sbatch: {complaint(error)}") from error
        return SlurmJob(trial, folder, str(submitted.job_id), self._queue(jobs), submitted)

    def adopt(self, folder: StudyFolder, trials: Iterable[Trial]) -> list[Job]:
        """The jobs of an earlier start that wait or run."""
        found: list[Job] = []
        for trial in trials:
            record = job_record(folder, trial)
            if record is not None and record.launcher == self.name:
                job = SlurmJob(trial, folder, record.job, self._queue(folder.jobs))
                if job.exists():
                    found.append(job)
        return found

    def _queue(self, jobs: Path) -> _Slurm | _Processes:
        return _Slurm(self._submitit) if self._cluster == "slurm" else _Processes(jobs)

    def _executor(self, jobs: Path) -> Any:
        kind = self._submitit.SlurmExecutor if self._cluster == "slurm" else self._submitit.LocalExecutor
        return kind(folder=str(jobs))

    def _parameters(self, trial: Trial) -> dict[str, Any]:
        if self._cluster == "local":
            return {"timeout_min": LOCAL_MINUTES, "stderr_to_stdout": True}
        given = self.resources
        return {
            "job_name": f"gatewright-{trial.arm}-{trial.seed}",
            "cpus_per_task": given.cpus or 1,
            "gpus_per_node": given.gpus or None,
            "mem": None if given.memory is None else f"{given.memory // 2**20}MB",
            "partition": given.partition,
            "time": None if given.time is None else math.ceil(given.time / 60),
            "signal_delay_s": WARNING_SECONDS,
            "stderr_to_stdout": True,
            "additional_parameters": {"no-requeue": True},
        }


class SlurmJob(Job):
    """A job in the queue or running, known by its number."""

    def __init__(
        self, trial: Trial, folder: StudyFolder, job: str, queue: _Slurm | _Processes, submitted: object = None
    ) -> None:
        self.trial, self.name = trial, job
        self._jobs, self._queue = folder.jobs, queue
        self._submitted = submitted  # submitit's own handle lives as long as this one
        self._ending: Ending | None = None
        self._gone_since: float | None = None

    def exists(self) -> bool:
        """Whether the queue still knows it as one that has not ended; asks now."""
        return self.running() and self._queue.state(self.name, now=True) != "UNKNOWN"

    def running(self) -> bool:
        """Whether it has not ended."""
        if self._ending is None:
            self._ending = self._look()
        return self._ending is None

    def queued(self) -> bool:
        """Whether it waits for a node."""
        return self._queue.state(self.name) not in ("RUNNING", "COMPLETING")

    def stop(self) -> None:
        """Take it out of the queue, or ask it to save and leave."""
        if self._queue.state(self.name, now=True) == "PENDING":
            self._queue.cancel(self.name)
        else:
            self._queue.ask(self.name)

    def kill(self) -> None:
        """Cancel it."""
        self._queue.cancel(self.name)

    def ending(self) -> Ending:
        """Its trial's exit status, or else the state in which SLURM lost it."""
        assert self._ending is not None
        return self._ending

    def _look(self) -> Ending | None:
        file = exit_file(self._jobs, self.name)
        if file.is_file():
            for pickle in self._jobs.glob(f"{self.name}_*.pkl"):
                pickle.unlink(missing_ok=True)
            try:
                return Ending(int(parse_json(file.read_text())["code"]))
            except (ValueError, TypeError, KeyError) as error:
                return Ending(None, f"job {self.name}: {file} cannot be read ({error})")
        state = self._queue.state(self.name)
        if not state.startswith(ENDED):
            self._gone_since = None
            return None
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if state.startswith(("COMPLETED", "FAILED")) and now < self._gone_since + LAG_SECONDS:
            return None  # it must have written the file
        return Ending(None, f"job {self.name}: {state}", cancelled=state.startswith("CANCELLED"))


class _Slurm:
    """The queue of SLURM. States come from submitit's watcher, which asks for all jobs at once and ever more rarely."""

    def __init__(self, submitit: Any) -> None:
        self._watcher = submitit.SlurmJob.watcher

    def state(self, job: str, *, now: bool = False) -> str:
        return str(self._watcher.get_state(job, mode="force" if now else "standard")).upper()

    def ask(self, job: str) -> None:
        _scancel("--signal=TERM", job)

    def cancel(self, job: str) -> None:
        _scancel(job)


def _scancel(*arguments: str) -> None:
    # it complains about jobs that have just ended, which is all right
    subprocess.run(["scancel", "--quiet", *arguments], check=False, stdout=subprocess.DEVNULL)


class _Processes:
    """The stand-in of submitit: a job is a process here, and its number the process's."""

    def __init__(self, jobs: Path) -> None:
        self._jobs = str(jobs)

    def state(self, job: str, *, now: bool = False) -> str:
        process = self._process(job)
        return "RUNNING" if process is not None else "COMPLETED"

    def ask(self, job: str) -> None:
        if (process := self._process(job)) is not None:
            process.terminate()

    def cancel(self, job: str) -> None:
        if (process := self._process(job)) is None:
            return
        everyone = [*process.children(recursive=True), process]
        for one in everyone:
            one.kill()
        psutil.wait_procs(everyone, timeout=LAG_SECONDS)

    def _process(self, job: str) -> psutil.Process | None:
        try:
            process = psutil.Process(int(job))
            alive = process.status() != psutil.STATUS_ZOMBIE and self._jobs in process.cmdline()
        except psutil.NoSuchProcess:
            return None
        return process if alive else None
