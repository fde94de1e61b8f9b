"""The process that forks trials: what it starts is what a fresh interpreter would have started."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import psutil
import pytest
from bench import wait_until

from gatewright.study.launch import local
from gatewright.study.launch.attempt import Attempt, kill_group
from gatewright.study.launch.job import LaunchError
from gatewright.study.launch.nursery import COMMAND, COMPILED, EVERY, TASKS, TRAINED, Nursery, can_fork, imports_of
from gatewright.study.process import trial_processes
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.watch.vitals import configs_on

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="trials are forked on Linux only")

TRIAL, OTHER = Trial("arm", 0), Trial("other", 0)
STAND_IN = """
import os, pathlib, sys, time
import gatewright.cli

real = gatewright.cli.main

def main():
    if "look" in sys.argv:
        names = "OMP_NUM_THREADS", "GATEWRIGHT_MARK", "PATH"
        print(os.getcwd(), *map(os.environ.get, names), sys.argv[1:])
        sys.exit(7)
    if "sleep" in sys.argv:
        pathlib.Path(os.environ["GATEWRIGHT_MARK"]).touch()
        time.sleep(60)
    real()

gatewright.cli.main = main
"""
"""Takes the place of the command line where that would not do what a test needs."""


def attempt_at(path: Path, *words: str, threads: int = 3) -> Attempt:
    """A command of ours in the folder ``path``, with a log there."""
    settings = {"GATEWRIGHT_MARK": str(path / "mark"), "PYTHONPATH": str(path)}
    return Attempt([*COMMAND, *words], str(path / "log"), threads, str(path), settings)


@pytest.fixture
def nursery(tmp_path: Path) -> Iterator[Nursery]:
    """A nursery that has imported the command line alone."""
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    made = Nursery(attempt_at(tmp_path), ["stand_in"])
    yield made
    made.close()


def test_it_prints_into_its_log_and_exits_as_a_fresh_interpreter_does(nursery: Nursery, tmp_path: Path) -> None:
    good = nursery.spawn(attempt_at(tmp_path, "train", "--help"))
    good.wait()
    bad = nursery.spawn(attempt_at(tmp_path, "train", "model.widht=3"))
    bad.wait()
    assert (good.returncode, bad.returncode) == (0, 2)
    said = (tmp_path / "log").read_text()
    assert "Train one model and leave a run directory." in said
    assert said.splitlines()[-1].startswith("gatewright: unknown key 'model.widht'")


def test_environment_folder_and_arguments_are_those_of_the_attempt(nursery: Nursery, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    attempt = attempt_at(tmp_path, "look", "here", threads=5)
    process = nursery.spawn(dataclasses.replace(attempt, folder=str(tmp_path / "below")))
    process.wait()
    assert process.returncode == 7
    said = (tmp_path / "log").read_text().splitlines()
    assert said[-1] == f"{tmp_path / 'below'} 5 {tmp_path / 'mark'} {os.environ['PATH']} ['look', 'here']"
    assert said[-2].endswith("-m gatewright look here")


def test_it_may_be_forked(tmp_path: Path) -> None:
    made = Nursery(attempt_at(tmp_path), [*EVERY, *TASKS, *TRAINED, *COMPILED])
    process = made.spawn(attempt_at(tmp_path, "--help"))  # answered when all is imported
    assert psutil.Process(made._process.pid).num_threads() == 1
    process.wait()
    made.close()


def test_a_trial_has_a_process_group_and_is_known_by_its_title(nursery: Nursery, tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "with a space")
    file = folder.config_file(TRIAL)
    process = nursery.spawn(attempt_at(tmp_path, "train", "--config", str(file), "sleep"))
    wait_until((tmp_path / "mark").exists)
    assert {t: p.pid for t, p in trial_processes(folder, [TRIAL, OTHER]).items()} == {TRIAL: process.pid}
    assert os.getpgid(process.pid) == process.pid != os.getpgid(nursery._process.pid)
    kill_group(process)
    assert process.returncode == -9
    assert trial_processes(folder, [TRIAL]) == {}
    assert nursery.alive


def test_configurations_on_command_lines() -> None:
    files = ["/a b/c.yaml", "/a b/cc.yaml"]
    assert configs_on(["python", "-m", "gatewright", "train", "--config", "/a b/c.yaml", "train.threads=1"], files) == [
        "/a b/c.yaml"
    ]
    assert configs_on(["python -m gatewright train --config /a b/cc.yaml"], files) == ["/a b/cc.yaml"]
    assert configs_on(["less", "/a b/c.yaml"], files) == []
    assert configs_on(["python", "train", "/a b/c.yaml.old"], files) == []


def test_trials_outlive_their_nursery_and_the_next_start_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    monkeypatch.setattr(local, "imports_of", lambda file: ["stand_in"])
    folder = StudyFolder(tmp_path / "study")
    with local.LocalLauncher() as launcher:
        first = launcher.start(TRIAL, folder, attempt_at(tmp_path, "sleep"))
        wait_until((tmp_path / "mark").exists)
        launcher._nursery._process.kill()
        launcher._nursery._process.wait()
        assert first.running()
        (tmp_path / "mark").unlink()
        second = launcher.start(OTHER, folder, attempt_at(tmp_path, "sleep"))
        wait_until((tmp_path / "mark").exists)
        first.stop()
        first.wait()
        assert first.ending().how == "lost with the process that had started it"
        assert first.ending().may_pass
        second.stop()
        second.wait()
        assert second.ending().code == -15


def test_a_nursery_that_breaks_is_a_failed_launch(tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text("raise RuntimeError('out of order')")
    nursery = Nursery(attempt_at(tmp_path), ["stand_in"])
    with pytest.raises(LaunchError, match="has ended"):
        nursery.spawn(attempt_at(tmp_path, "look"))
    nursery.close()
    assert (tmp_path / "log").read_text().splitlines()[-1] == "RuntimeError: out of order"


def test_what_is_not_installed_is_left_to_the_trial(tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text(STAND_IN)
    nursery = Nursery(attempt_at(tmp_path), ["no_such_module", "stand_in"])
    process = nursery.spawn(attempt_at(tmp_path, "look"))
    process.wait()
    nursery.close()
    assert process.returncode == 7


def test_what_a_name_with_a_colon_says_is_called_once_for_all_trials(tmp_path: Path) -> None:
    (tmp_path / "stand_in.py").write_text(f"{STAND_IN}\ndef say():\n    print('called', flush=True)\n")
    nursery = Nursery(attempt_at(tmp_path), ["stand_in:no_such_name", "stand_in:say"])
    for process in [nursery.spawn(attempt_at(tmp_path, "look")) for _ in range(2)]:
        process.wait()
        assert process.returncode == 7
    nursery.close()
    assert (tmp_path / "log").read_text().count("called") == 1


@pytest.mark.parametrize("name", [*EVERY, *TASKS, *TRAINED, *COMPILED])
def test_every_name_is_there(name: str) -> None:
    """Where one is missing a trial asks for it itself, so that nothing fails but the time."""
    assert callable(resolve_name(name)) == (":" in name)


def test_imports_follow_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("init: null\ntask: null\n")
    assert imports_of(file) == list(EVERY)
    file.write_text("init: runs/x\ntask: {name: chain_sum}\ntrain: {compile: true}\n")
    assert {*TASKS, *TRAINED, *COMPILED} < set(imports_of(file))


def test_only_our_own_command_is_forked(tmp_path: Path) -> None:
    assert can_fork(attempt_at(tmp_path, "train"))
    assert not can_fork(Attempt([sys.executable, "fake.py", "train"], str(tmp_path / "log"), 1))
