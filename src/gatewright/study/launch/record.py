"""Which cluster jobs a study has out: ``trials/<trial>.job``, written when a job is submitted, gone when it has ended.

A study whose process was killed finds in them the jobs that go on without it.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import psutil

from gatewright.errors import UserError
from gatewright.files import write_atomic
from gatewright.reading import parse_json
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial

JOB = re.compile(r"[0-9]{0,32}")


@dataclass(frozen=True)
class JobRecord:
    """A cluster job that runs, or is going to run, a trial."""

    launcher: str
    job: str
    """what the cluster calls it"""
    host: str
    pid: int
    """where the study that submitted it runs, and as which process"""


def write_record(folder: StudyFolder, trial: Trial, launcher: str, job: str) -> None:
    """Note that this process submitted ``job``."""
    record = JobRecord(launcher, job, socket.gethostname(), os.getpid())
    write_atomic(folder.job_file(trial), json.dumps(asdict(record)) + "\n")


def job_record(folder: StudyFolder, trial: Trial) -> JobRecord | None:
    """The job that was submitted for the trial and whose end was not noted; `UserError` if the file is damaged."""
    file = folder.job_file(trial)
    if not file.is_file():
        return None
    try:
        values = parse_json(file.read_text(encoding="utf-8"))
        record = JobRecord(str(values["launcher"]), str(values["job"]), str(values["host"]), int(values["pid"]))
        if not JOB.fullmatch(record.job):  # it becomes a file's name, and an argument of scancel
            raise ValueError("the job's name is not a number")
        return record
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{file} cannot be read ({error}); delete it if the trial's job has ended") from error


def submitted_trials(folder: StudyFolder, trials: Iterable[Trial]) -> set[Trial]:
    """The trials that wait or run on a cluster, as far as can be told without asking it.

    Jobs of Ray end with the process that started them, those of SLURM do not.
    """
    found = set()
    for trial in trials:
        record = job_record(folder, trial)
        if record is None:
            continue
        dead = record.host == socket.gethostname() and not psutil.pid_exists(record.pid)
        if record.launcher != "ray" or not dead:
            found.add(trial)
    return found
