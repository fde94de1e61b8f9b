"""What state a run is in: its own word against the processes that are alive."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import psutil
import pytest
from folders import eval_record, held, lines, make_config, train_record, write_run

from gatewright.config import to_yaml
from gatewright.errors import UserError
from gatewright.watch.runs import PATIENCE, SCAN_SECONDS, Watch, next_checkpoint


def states(watch: Watch, now: float | None = None) -> dict[str, str]:
    return {view.name: view.state for view in watch.look(time.time() if now is None else now)}


def test_a_run_says_how_it_ended(tmp_path: Path) -> None:
    for status in ("finished", "failed", "interrupted", "diverged"):
        write_run(tmp_path / status, status)
    watch = Watch(tmp_path)
    assert states(watch) == {status: status for status in ("diverged", "failed", "finished", "interrupted")}
    assert not watch.active(watch.look(time.time()))


@pytest.mark.parametrize("status", ["running", None])
def test_a_run_without_a_process_is_not_running(tmp_path: Path, status: str | None) -> None:
    write_run(tmp_path / "killed", status, lines(train_record(100)))
    watch = Watch(tmp_path)
    (view,) = watch.look(time.time())
    assert view.state == "stopped (killed?)"
    assert view.seconds_left is None
    assert not watch.active([view])


def test_a_run_with_a_process_is_running_until_that_is_killed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running")
    with held(run) as (process,):
        watch = Watch(tmp_path)
        began = time.time()
        (run / "metrics.jsonl").write_text(lines(train_record(100, began=began), train_record(200, began=began)))
        (view,) = watch.look(began + 100)
        assert view.state == "running"
        assert view.vitals is not None
        assert view.vitals.pid == process.pid
        assert view.vitals.memory_bytes > 10**6
        assert view.vitals.cpu_percent is None
        assert view.seconds_left == pytest.approx(0.5 * 800)
        assert (view.checkpoint, view.checkpoint_in) == (300, pytest.approx(0.5 * 100))
        assert view.architecture == "4L-4H-128D"
        assert view.max_steps == 1_000
        (view,) = watch.look(began + 100)
        assert view.vitals is not None
        assert view.vitals.cpu_percent is not None
        assert watch.active([view])
        process.kill()
        process.wait()
        (view,) = watch.look(began + 101)
        assert view.state == "stopped (killed?)"
        assert not watch.active([view])


def test_a_process_that_nobody_waited_for_is_dead(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running")
    with held(run) as (process,):
        watch = Watch(tmp_path)
        assert states(watch) == {"run": "running"}
        process.kill()
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert states(watch) == {"run": "stopped (killed?)"}


def test_a_run_that_is_being_resumed_is_starting(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "interrupted")
    with held(run):
        assert states(Watch(tmp_path)) == {"run": "starting"}


def test_a_run_that_is_resumed_with_other_settings_is_shown_with_those(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running", lines(train_record(100)))
    with held(run):
        watch = Watch(tmp_path)
        assert [view.checkpoint for view in watch.look(time.time())] == [300]
        write_run(run, "running", lines(train_record(100)), make_config(save_every=150))
        os.utime(run / "config.yaml", (1, 1))
        assert [view.checkpoint for view in watch.look(time.time())] == [150]


def test_a_run_that_appears_while_watching_is_shown_at_once_as_running(tmp_path: Path) -> None:
    write_run(tmp_path / "old", "finished")
    watch = Watch(tmp_path)
    now = time.time()
    assert states(watch, now) == {"old": "finished"}
    new = write_run(tmp_path / "group/new", "running")
    with held(new):
        assert states(watch, now + SCAN_SECONDS) == {"group/new": "running", "old": "finished"}


def test_a_run_that_starts_again_between_two_scans_is_never_called_stopped(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "finished")
    watch = Watch(tmp_path)
    now = time.time()
    assert states(watch, now) == {"run": "finished"}
    write_run(run, "running")
    with held(run):
        assert states(watch, now + 0.1) == {"run": "running"}


def test_a_run_that_is_removed_while_watching_disappears(tmp_path: Path) -> None:
    write_run(tmp_path / "kept", "finished")
    run = write_run(tmp_path / "run", "finished")
    watch = Watch(tmp_path)
    now = time.time()
    assert len(watch.look(now)) == 2
    for file in run.iterdir():
        file.unlink()
    run.rmdir()
    assert states(watch, now + SCAN_SECONDS) == {"kept": "finished"}


def test_a_run_on_another_machine_is_believed_as_long_as_it_writes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running", lines(train_record(10)), host="elsewhere")
    now = time.time()
    (view,) = Watch(tmp_path).look(now)
    assert (view.state, view.where, view.vitals) == ("running", "elsewhere", None)
    long_ago = now - PATIENCE - 1
    for file in run.iterdir():
        os.utime(file, (long_ago, long_ago))
    assert states(Watch(tmp_path), now) == {"run": "stopped (killed?)"}


def test_files_that_cannot_be_read_are_told_and_hide_nothing_else(tmp_path: Path) -> None:
    write_run(tmp_path / "sound", "finished")
    (write_run(tmp_path / "summary") / "summary.json").write_text("{")
    (write_run(tmp_path / "config", None) / "config.yaml").write_text("train: [")
    views = {view.name: view for view in Watch(tmp_path).look(time.time())}
    assert views["sound"].state == "finished"
    for name in ("summary", "config"):
        assert views[name].state == "failed"
        assert "cannot read" in views[name].error
        assert "\n" not in views[name].error


def make_study(folder: Path, **plan: object) -> Path:
    """A study's folder that has planned arms ``a`` and ``b`` with two seeds, as `gatewright study run` leaves it."""
    (folder / "trials/a").mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / "study.yaml").write_text("name: demo\n")
    (folder / "plan.json").write_text(json.dumps({"arms": {"a": {}, "b": {}}, "seeds": [0, 1], **plan}))
    return folder


def test_planned_trials_wait_and_failed_ones_say_why(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", tuning={"learning_rates": [0.001, 1e-05], "tuning_seeds": [7]})
    write_run(study / "runs/a/seed-0", "finished")
    write_run(study / "runs/b/seed-0", "running")
    (study / "trials/a/seed-1.error").write_text("out of memory (exit status 1)\n")
    watch = Watch(study)
    views = {view.name: view for view in watch.look(time.time())}
    assert {name: view.state for name, view in views.items()} == {
        "a/lr-0.001-seed-7": "waiting", "a/lr-1e-05-seed-7": "waiting", "a/seed-0": "finished", "a/seed-1": "failed",
        "b/lr-0.001-seed-7": "waiting", "b/lr-1e-05-seed-7": "waiting", "b/seed-0": "stopped (killed?)",
        "b/seed-1": "waiting",
    }  # fmt: skip
    assert views["a/seed-1"].error == "out of memory (exit status 1)"
    assert not watch.active(list(views.values()))


def test_waiting_trials_keep_the_dashboard_open_while_their_study_runs(tmp_path: Path) -> None:
    study = make_study(tmp_path / "runs/demo")
    watch = Watch(tmp_path / "runs")
    assert not watch.active(watch.look(time.time()))
    with held(study):
        watch = Watch(tmp_path / "runs")
        views = watch.look(time.time())
        assert {view.name for view in views} == {"demo/a/seed-0", "demo/a/seed-1", "demo/b/seed-0", "demo/b/seed-1"}
        assert watch.active(views)
        one = Watch(write_run(study / "runs/a/seed-0", "finished"))
        assert not one.active(one.look(time.time()))
    assert not watch.active(views)


def test_a_trial_whose_process_has_not_reached_its_run_yet_is_starting(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    file = study / "trials/a/seed-0.yaml"
    file.write_text(to_yaml(make_config()))
    elsewhere = tmp_path / "nothing"
    elsewhere.mkdir()
    with held(elsewhere, arguments=("train", "--config", str(file))):
        views = {view.name: view for view in Watch(study).look(time.time())}
    assert views["a/seed-0"].state == "starting"
    assert views["a/seed-0"].max_steps == 1_000
    with held(elsewhere, arguments=("edit", str(file))):
        assert states(Watch(study))["a/seed-0"] == "waiting"


def test_one_run_and_one_arm_can_be_watched(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    run = write_run(study / "runs/a/seed-0", "finished", lines(eval_record(1_000, 3.5)))
    (view,) = Watch(run).look(time.time())
    assert (view.name, view.history.progress.val_loss) == ("a/seed-0", 3.5)
    assert states(Watch(run.parent)) == {"seed-0": "finished"}
    assert states(Watch(write_run(tmp_path / "loose", "finished"))) == {"loose": "finished"}


def test_a_folder_without_runs_is_a_mistake(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(folder)):
            Watch(folder)


@pytest.mark.parametrize(
    ("step", "at_end", "expected"),
    [(0, True, 300), (299, True, 300), (300, True, 600), (900, True, 1_000), (900, False, None), (1_000, True, None)],
)
def test_the_next_checkpoint_is_where_the_loop_makes_one(step: int, at_end: bool, expected: int | None) -> None:
    assert next_checkpoint(make_config(checkpoint_at_end=at_end), step) == expected


def test_a_last_step_that_is_due_anyway_still_obeys_checkpoint_at_end() -> None:
    assert next_checkpoint(make_config(max_steps=600, checkpoint_at_end=False), 400) is None
