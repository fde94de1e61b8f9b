"""SLURM's commands, as far as submitit and Gatewright use them: jobs are processes here.

Usage: fake_slurm.py sbatch|srun|sacct|scancel ARGUMENT…, with the folder of its state in FAKE_SLURM.

``<id>.state`` is the state of a job, ``<id>.sh`` what was submitted. Where a file ``hold`` exists, jobs stay PENDING.
As SLURM does, scancel signals every process of a job.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

HERE = Path(os.environ["FAKE_SLURM"])


def sbatch(file: str) -> None:
    """Put a job into the queue, and start it."""
    job = str(len(list(HERE.glob("*.sh"))) + 1)
    state = HERE / f"{job}.state"
    (HERE / f"{job}.sh").write_text(Path(file).read_text())
    print(f"Submitted batch job {job}")
    if (HERE / "hold").exists():
        state.write_text("PENDING")
        return
    state.write_text("RUNNING")
    over = f'bash {HERE / job}.sh; [ "$(cat {state})" = RUNNING ] && printf COMPLETED > {state}'
    environment = {**os.environ, "SLURM_JOB_ID": job, "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(["bash", "-c", over], env=environment, start_new_session=True, **quiet)
    (HERE / f"{job}.pid").write_text(str(process.pid))


def srun(*arguments: str) -> None:
    """Become the command, with its output where it belongs."""
    rest = list(arguments)
    while rest[0].startswith("--"):
        flag = rest.pop(0)
        if flag == "--output":
            output = rest.pop(0).replace("%j", os.environ["SLURM_JOB_ID"]).replace("%t", "0")
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
    os.execvp(rest[0], rest)


def sacct(*arguments: str) -> None:
    """The states of jobs."""
    print("JobID|State|NodeList")
    for flag, job in pairwise(arguments):
        state = HERE / f"{job}.state"
        if flag == "-j" and state.exists():
            print(f"{job}|{state.read_text()}|here")


def scancel(*arguments: str) -> None:
    """Signal a job's tasks, or end it."""
    import psutil

    job = arguments[-1]
    pid = HERE / f"{job}.pid"
    processes = psutil.Process(int(pid.read_text())).children(recursive=True) if pid.exists() else []
    tasks = [process for process in processes if process.name() != "bash"]
    with (HERE / "scancelled").open("a") as log:
        log.write(" ".join(arguments) + "\n")
    if "--signal=TERM" in arguments:
        for process in tasks:
            process.terminate()
        return
    (HERE / f"{job}.state").write_text("CANCELLED by 1000")
    for process in processes:
        process.kill()


if __name__ == "__main__":
    {"sbatch": sbatch, "srun": srun, "sacct": sacct, "scancel": scancel}[sys.argv[1]](*sys.argv[2:])
