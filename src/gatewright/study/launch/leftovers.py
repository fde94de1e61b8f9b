"""What an earlier start of a study left running when it was killed: adopted, or asked to save and leave."""

from __future__ import annotations

from collections.abc import Collection

from gatewright.errors import UserError
from gatewright.study.launch.job import Job, Launcher
from gatewright.study.launch.node import exit_file
from gatewright.study.launch.record import JobRecord, job_record
from gatewright.study.process import stop_orphans
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial


def settle_leftovers(folder: StudyFolder, trials: Collection[Trial], launcher: Launcher) -> tuple[list[Job], int]:
    """The jobs that ``launcher`` goes on with, and how many others of an earlier start were stopped.

    Those are processes on this machine, and jobs of another launcher. Raises `UserError` for such jobs that cannot be
    asked from here.
    """
    adopted = launcher.adopt(folder, trials)
    others = [trial for trial in trials if trial not in {job.trial for job in adopted}]
    stopped = stop_orphans(folder, others)
    for trial in others:
        record = job_record(folder, trial)
        if record is None:
            continue
        if record.launcher not in (launcher.name, "ray"):  # of these nothing is left
            stopped += _stop(trial, folder, record)
        folder.job_file(trial).unlink()
    return adopted, stopped


def _stop(trial: Trial, folder: StudyFolder, record: JobRecord) -> int:
    """Have a job of SLURM leave; returns whether it was still there."""
    from gatewright.study.launch.slurm import SlurmLauncher

    if exit_file(folder.jobs, record.job).is_file():
        return 0
    try:
        jobs = SlurmLauncher(cluster="slurm" if record.launcher == "slurm" else "local").adopt(folder, [trial])
    except UserError as error:
        raise UserError(
            f"{trial.name} is job {record.job} of an earlier start with launcher {record.launcher}, which cannot be "
            f"asked from here ({error}). Go on with that launcher, or delete {folder.job_file(trial)} once the job has "
            "ended"
        ) from error
    for job in jobs:
        job.stop()
        job.wait()
    return len(jobs)
