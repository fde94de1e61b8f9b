"""A whole study through the command line: real training in real processes, down to the report."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import yaml
from chapters import write_chapters
from rich.console import Console

from gatewright.cli import app
from gatewright.errors import UserError
from gatewright.study import load_study, run_study, runner
from gatewright.study.launch import Launcher
from gatewright.study.launch.ray_cluster import RayLauncher
from gatewright.study.launch.slurm import SlurmLauncher

ARMS = {
    "plain": {"overrides": ["model.feedforward=standard"]},
    "gated": {"overrides": ["model.feedforward=pagelu", "model.alpha=learnable"]},
}
BASE = ["model=small", "model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files",
        "data.tokenizer=byte", "train.batch_size=4", "train.max_steps=8", "train.eval_every=4", "train.save_every=8",
        "train.log_every=2", "train.eval_tokens=512", "train.tensorboard=false"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus and a study file."""
    folder = tmp_path_factory.mktemp("study")
    write_chapters(folder)
    study = {
        "name": "tiny",
        "base": [*BASE, f"data.path={folder / 'corpus'}"],
        "seeds": [0, 1],
        "baseline": "plain",
        "match": "params",
        "equivalence_margin": 0.005,
        "arms": ARMS,
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(study))
    return folder


def gatewright(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GATEWRIGHT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gatewright", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    """The folder of the study after one run."""
    outcome = gatewright(folder, "study", "run", "tiny.yaml", "--out", "out", "--workers", "2")
    assert outcome.returncode == 0, outcome.stderr
    assert "gated" in outcome.stdout
    return folder / "out"


def test_results_hold_what_others_read(finished: Path) -> None:
    (comparison,) = json.loads((finished / "results.json").read_text())["comparisons"]
    losses = {
        arm: [
            json.loads((finished / "runs" / arm / f"seed-{s}" / "summary.json").read_text())["final_val_loss"]
            for s in (0, 1)
        ]
        for arm in ARMS
    }
    differences = [gated - plain for gated, plain in zip(losses["gated"], losses["plain"], strict=True)]
    assert (comparison["arm"], comparison["baseline"], comparison["n"]) == ("gated", "plain", 2)
    assert comparison["mean_difference"] == pytest.approx(sum(differences) / 2)
    assert comparison["ci95"][0] < comparison["mean_difference"] < comparison["ci95"][1]
    assert comparison["verdict"] in {"better", "worse", "equivalent", "inconclusive"}
    assert abs(comparison["parameters"] - comparison["baseline_parameters"]) / comparison["baseline_parameters"] < 0.1
    assert {"p_value", "p_adjusted", "effect_size", "metric"} <= set(comparison)


def test_reports_are_written_and_name_the_arms(finished: Path) -> None:
    for name in ("report.html", "report.md"):
        text = (finished / name).read_text()
        assert all(arm in text for arm in ARMS)
    assert "http://" not in (finished / "report.html").read_text().replace("http://www.w3.org", "")


def test_arms_saw_the_same_text_and_alpha_is_recorded(finished: Path) -> None:
    environments = [json.loads(f.read_text()) for f in finished.glob("runs/*/*/environment.json")]
    assert len(environments) == 4
    assert len({environment["data"]["content_sha256"] for environment in environments}) == 1
    assert set(json.loads((finished / "runs/gated/seed-0/summary.json").read_text())["alpha"]) == {"0"}


def test_submitit_trains_what_this_machine_trains(
    folder: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert on_a_cluster(folder, "on-slurm", SlurmLauncher(cluster="local"), monkeypatch) == seed_0(finished)


def test_ray_trains_what_this_machine_trains(folder: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="ray has no wheels for this platform")
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    ray.init(include_dashboard=False, num_cpus=2, object_store_memory=80 * 2**20, log_to_driver=False)
    try:
        assert on_a_cluster(folder, "on-ray", RayLauncher(), monkeypatch) == seed_0(finished)
        assert ray.is_initialized()  # a connection that was there is left as it is
    finally:
        ray.shutdown()
    left = [process for process in psutil.Process().children(recursive=True) if process.pid not in before]
    assert psutil.wait_procs(left, timeout=30)[1] == []


def on_a_cluster(folder: Path, out: str, launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The losses of the study's first seed, of trials that ``launcher`` ran, in real processes."""
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(folder / "cache"))
    monkeypatch.setattr(runner, "write_files", lambda analysis: analysis.write() or analysis.folder.path)
    study = replace(load_study(folder / "tiny.yaml"), seeds=[0])
    printed = Console(file=io.StringIO(), width=200)
    analysis = run_study(study, folder / out, launcher=launcher, console=printed)
    assert analysis is not None, printed.file.getvalue()
    assert analysis.complete, analysis.failed
    assert not list((folder / out / "trials").rglob("*.job"))
    return seed_0(folder / out)


def seed_0(out: Path) -> dict[str, float]:
    """The validation losses of the first seed by arm."""
    summaries = {arm: json.loads((out / "runs" / arm / "seed-0/summary.json").read_text()) for arm in ARMS}
    return {arm: summary["final_val_loss"] for arm, summary in summaries.items()}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--launcher", "ray", "--resources", "cpu=2"], "unknown key 'resources.cpu'; did you mean 'resources.cpus'"),
        (["--launcher", "slurm", "--address", "auto"], "it goes with launcher ray, not slurm"),
        (["--launcher", "ray", "--budget", "1h"], "a budget is for trials on this machine"),
        (["--resources", "gpus=1"], "launcher local cannot give 'gpus', only cpus"),
        (["--stall-timeout", "10"], "stall-timeout=10: expected a time such as 60m"),
    ],
)
def test_launchers_say_what_is_wrong_before_anything_starts(folder: Path, options: list[str], message: str) -> None:
    arguments = ["study", "run", str(folder / "tiny.yaml"), "--out", str(folder / "nothing"), *options]
    with pytest.raises(UserError, match=message):
        app(arguments, standalone_mode=False)
    assert not (folder / "nothing").exists()


def test_running_again_repeats_nothing(folder: Path, finished: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in finished.glob("runs/*/*/*")}
    results = (finished / "results.json").read_text()
    assert gatewright(folder, "study", "run", "tiny.yaml", "--out", "out").returncode == 0
    assert {file: file.stat().st_mtime_ns for file in finished.glob("runs/*/*/*")} == before
    assert (finished / "results.json").read_text() == results


def test_one_seed_gives_no_verdict(folder: Path) -> None:
    study = yaml.safe_load((folder / "tiny.yaml").read_text()) | {"seeds": [0]}
    (folder / "single.yaml").write_text(yaml.safe_dump(study))
    assert gatewright(folder, "study", "run", "single.yaml", "--out", "single").returncode == 0
    (comparison,) = json.loads((folder / "single/results.json").read_text())["comparisons"]
    assert (comparison["n"], comparison["verdict"], comparison["p_value"]) == (1, "none", None)


def test_a_mistake_in_one_arm_stops_everything_before_it_starts(folder: Path) -> None:
    study = yaml.safe_load((folder / "tiny.yaml").read_text())
    study["arms"]["gated"]["overrides"] = ["model.feedforward=pagleu"]
    (folder / "wrong.yaml").write_text(yaml.safe_dump(study))
    outcome = gatewright(folder, "study", "run", "wrong.yaml", "--out", "wrong")
    assert outcome.returncode == 2
    assert "pagelu" in outcome.stderr
    assert not (folder / "wrong").exists()


def test_the_plan_tells_time_and_runs_nothing(folder: Path) -> None:
    outcome = gatewright(folder, "study", "plan", "tiny.yaml", "--out", "planned", "train.max_steps=50")
    assert outcome.returncode == 0, outcome.stderr
    assert "4 trials: 2 arms × 2 seeds" in outcome.stdout
    assert "2 at a time (measured here" in " ".join(outcome.stdout.split())
    assert not (folder / "planned").exists()


def test_a_budget_that_cannot_be_read_is_refused(folder: Path) -> None:
    outcome = gatewright(folder, "study", "run", "tiny.yaml", "--out", "planned", "--budget", "60")
    assert outcome.returncode == 2
    assert "60m, 2h" in outcome.stderr
