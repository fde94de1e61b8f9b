"""Studies as jobs of SLURM: through submitit's stand-in for it, and through commands that act as SLURM's do."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from bench import PAIR, Bench, undisturbed, wait_until

from gatewright.errors import UserError
from gatewright.study.launch import Resources
from gatewright.study.launch import retries as retries_module
from gatewright.study.launch import slurm as slurm_module
from gatewright.study.launch.slurm import SlurmLauncher
from gatewright.study.progress import read_progress
from gatewright.study.runner import StudyInterruptedError
from gatewright.study.trial import Trial

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="SLURM runs on Linux")
BASE, OTHER = Trial("base", 0), Trial("other", 0)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(slurm_module, "LAG_SECONDS", 0.5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The study of two trials, undisturbed, on this machine."""
    return undisturbed(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A SLURM of one's own: its commands are on the path; returns the folder of its state."""
    state, commands = tmp_path / "slurm", tmp_path / "bin"
    state.mkdir()
    commands.mkdir()
    fake = Path(__file__).with_name("fake_slurm.py")
    for name in ("sbatch", "srun", "sacct", "scancel"):
        command = commands / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {fake} {name} "$@"\n')
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(state))
    import submitit

    monkeypatch.setattr(submitit.SlurmJob, "watcher", type(submitit.SlurmJob.watcher)(delay_s=1))
    return state


def job_of(bench: Bench, trial: Trial) -> str:
    return json.loads(bench.folder.job_file(trial).read_text())["job"]


def begun(bench: Bench, trial: Trial) -> bool:
    metrics = bench.folder.run(trial) / "metrics.jsonl"
    return metrics.exists() and read_progress(metrics).step >= 2 and bench.folder.job_file(trial).exists()


def meanwhile(bench: Bench, action: Callable[[], object]) -> threading.Thread:
    """Do something as soon as the baseline's trial is under way; after that it is not slow any more."""

    def work() -> None:
        wait_until(lambda: begun(bench, BASE))
        bench.behave()
        action()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_submitit_runs_a_study_and_a_job_that_is_asked_to_leave_is_resumed(bench: Bench, whole: Bench) -> None:
    bench.behave(base_0="slow")
    outsider = meanwhile(bench, lambda: os.kill(int(job_of(bench, BASE)), signal.SIGTERM))
    analysis, printed = bench.run(PAIR, launcher=SlurmLauncher(cluster="local"))
    outsider.join()
    assert analysis.complete
    assert "base/seed-0: asked to leave at step" in printed
    assert bench.attempts("base", 0)[1]["start"] >= 2
    assert bench.attempts("other", 0) == [{"start": 0, "overrides": ["train.threads=1"], "threads": "1"}]
    assert bench.results() == whole.results()
    assert not list((bench.folder.path / "trials").rglob("*.job"))
    assert not list(bench.folder.jobs.glob("*submitted.pkl"))


def test_jobs_that_outlive_a_killed_study_are_adopted(bench: Bench, whole: Bench) -> None:
    bench.behave(base_0="slow")
    study = bench.in_background("PAIR", "SlurmLauncher(cluster='local')")
    wait_until(lambda: begun(bench, BASE))
    study.kill()
    study.wait()  # its job holds the pipe of its output
    job = psutil.Process(int(job_of(bench, BASE)))
    assert job.is_running()
    _, printed = bench.run(PAIR, launcher=SlurmLauncher(cluster="local"))
    assert "base/seed-0: still running, as started before" in printed
    assert len(bench.attempts("base", 0)) == 1
    assert bench.results() == whole.results()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2], ids=["pre-emption", "time limit"])
def test_slurm_is_asked_for_what_a_trial_needs_and_its_signals_are_survived(
    bench: Bench, whole: Bench, slurm: Path, number: signal.Signals
) -> None:
    bench.behave(base_0="slow")

    def preempt() -> None:  # every process of the job gets it, as SLURM does it
        job = psutil.Process(int((slurm / f"{job_of(bench, BASE)}.pid").read_text()))
        for process in job.children(recursive=True):
            if process.name() != "bash":
                process.send_signal(number)

    outsider = meanwhile(bench, preempt)
    resources = Resources(cpus=3, gpus=1, memory=3 * 2**29, time=5400.0, partition="short")
    _, printed = bench.run(PAIR, launcher=SlurmLauncher(resources))
    outsider.join()
    asked = (slurm / "1.sh").read_text()
    for line in ("--cpus-per-task=3", "--gpus-per-node=1", "--mem=1536MB", "--time=90", "--partition=short",
                 "--job-name=gatewright-base-0", "--no-requeue", "--signal=USR2@120"):  # fmt: skip
        assert f"#SBATCH {line}\n" in asked
    assert "base/seed-0: asked to leave at step" in printed  # it was told once, and so it saved
    assert [attempt["threads"] for attempt in bench.attempts("base", 0)] == ["3", "3"]
    assert bench.attempts("base", 0)[1]["start"] >= 2
    assert bench.results() == whole.results()


def test_lost_nodes_are_made_good_and_cancelled_jobs_are_left_alone(bench: Bench, slurm: Path) -> None:
    bench.behave(base_0="slow", other_0="slow")

    def lose() -> None:
        wait_until(lambda: begun(bench, OTHER))
        for trial, state in ((BASE, "NODE_FAIL"), (OTHER, "CANCELLED by 1000")):
            job = psutil.Process(int((slurm / f"{job_of(bench, trial)}.pid").read_text()))
            (slurm / f"{job_of(bench, trial)}.state").write_text(state)
            for process in job.children(recursive=True):
                process.kill()

    outsider = meanwhile(bench, lose)
    analysis, printed = bench.run(PAIR, launcher=SlurmLauncher())
    outsider.join()
    assert "base/seed-0: job 1: NODE_FAIL at step" in printed
    assert "other/seed-0: failed: job 2: CANCELLED BY 1000" in printed
    assert analysis.arms["base"].n == 1
    assert bench.folder.error_file(OTHER).exists()


def test_a_study_begun_on_slurm_is_finished_here(bench: Bench, whole: Bench, slurm: Path) -> None:
    bench.behave(base_0="slow")

    def fill_up_and_stop() -> None:
        wait_until(lambda: begun(bench, BASE))
        (slurm / "hold").touch()
        wait_until(lambda: bench.folder.job_file(OTHER).exists())
        os.kill(os.getpid(), signal.SIGTERM)

    outsider = threading.Thread(target=fill_up_and_stop)
    outsider.start()
    with pytest.raises(StudyInterruptedError, match="0 of 2 trials are finished and kept"):
        bench.run(PAIR, launcher=HeldBack(slurm))
    outsider.join()
    assert (slurm / "scancelled").read_text().splitlines() == ["--quiet --signal=TERM 1", "--quiet 2"]
    assert json.loads((bench.folder.run(BASE) / "summary.json").read_text())["status"] == "interrupted"
    bench.behave()
    bench.run(PAIR)
    assert bench.attempts("base", 0)[1]["start"] >= 2
    assert len(bench.attempts("other", 0)) == 1
    assert bench.results() == whole.results()


class HeldBack(SlurmLauncher):
    """Submits its second job when SLURM has no room left."""

    def __init__(self, slurm: Path) -> None:
        super().__init__()
        self.state = slurm

    def start(self, trial: Trial, *rest: object):
        if trial == OTHER:
            wait_until((self.state / "hold").exists)
        return super().start(trial, *rest)


def test_jobs_that_cannot_be_asked_from_here_stop_a_start(bench: Bench) -> None:
    bench.run(PAIR)
    (bench.folder.run(BASE) / "summary.json").write_text(json.dumps({"status": "interrupted"}))
    record = {"launcher": "slurm", "job": "7", "host": "login", "pid": 1}
    bench.folder.job_file(BASE).write_text(json.dumps(record))
    with pytest.raises(UserError, match="base/seed-0 is job 7 of an earlier start with launcher slurm, which cannot"):
        bench.run(PAIR)
    (bench.folder.jobs).mkdir()
    (bench.folder.jobs / "7.exit").write_text('{"code": 130}')  # it noted its end on the file system
    analysis, _ = bench.run(PAIR)
    assert analysis.complete
    bench.folder.job_file(BASE).write_text(json.dumps(record | {"job": "--user=root"}))
    (bench.folder.run(BASE) / "summary.json").write_text(json.dumps({"status": "interrupted"}))
    with pytest.raises(UserError, match=r"seed-0.job cannot be read"):
        bench.run(PAIR)
