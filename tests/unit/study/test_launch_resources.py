"""What a trial may be given, and what each launcher refuses."""

from __future__ import annotations

import importlib
import socket
from typing import Any

import pytest

from gatewright.errors import UserError
from gatewright.study import process as process_module
from gatewright.study.launch import Resources, create_launcher
from gatewright.study.launch.local import LocalLauncher
from gatewright.study.launch.ray_cluster import RayLauncher
from gatewright.study.launch.resources import parse_resources


def test_resources_are_read_in_the_terms_of_the_field() -> None:
    assert parse_resources("cpus=4,gpus=1, memory=1.5GB ,time=2h30m,partition=short") == Resources(
        4, 1, 3 * 2**29, 9000.0, "short"
    )
    assert parse_resources("memory=512mb") == Resources(memory=2**29)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpu=4", "unknown key 'resources.cpu'; did you mean 'resources.cpus'"),
        ("cpus", "'cpus' is not KEY=VALUE"),
        ("cpus=", "'cpus=' is not KEY=VALUE"),
        ("", "'' is not KEY=VALUE"),
        ("cpus=0", "cpus=0: expected 1 or more"),
        ("cpus=two", "cpus=two: expected 1 or more"),
        ("cpus=1,cpus=2", "'cpus' is given twice"),
        ("gpus=2", "gpus=2: expected 0 or 1, since a trial is one process"),
        ("memory=16", "memory=16: expected a size such as 16GB"),
        ("memory=0GB", "memory=0GB: expected a size"),
        ("time=90", "time=90: expected a time such as 60m"),
    ],
)
def test_what_cannot_be_given_is_said_at_once(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"resources: {message}|^{message}") as caught:
        parse_resources(text)
    assert "\n" not in str(caught.value)


def test_local_trials_can_be_given_cores_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "available_cores", lambda: 8)
    assert LocalLauncher(Resources(cpus=3)).shares(None) == (2, 3)
    assert LocalLauncher(Resources(cpus=3)).shares(5) == (5, 3)
    assert LocalLauncher(Resources(cpus=16)).shares(None) == (1, 16)
    assert LocalLauncher().shares(None) == (2, 4)
    with pytest.raises(UserError, match="launcher local cannot give 'gpus', only cpus"):
        LocalLauncher(Resources(cpus=1, gpus=1))


def test_launchers_refuse_what_they_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown launcher 'slrum'; did you mean 'slurm'"):
        create_launcher("slrum")
    with pytest.raises(UserError, match="address=auto is that of a Ray cluster: it goes with launcher ray, not local"):
        create_launcher("local", address="auto")
    with pytest.raises(UserError, match="launcher ray cannot give 'time', only cpus, gpus, memory"):
        create_launcher("ray", Resources(time=60.0))
    with pytest.raises(UserError, match="workers=0"):
        create_launcher("ray").shares(0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="no 'sbatch' here; start the study on a login node"):
        create_launcher("slurm")


def test_a_ray_cluster_that_is_not_there_is_said_and_not_waited_for() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UserError, match=f"no Ray cluster at {address}: .*refused"), RayLauncher(address=address):
            pass


@pytest.mark.parametrize(("launcher", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, launcher: str, package: str
) -> None:
    real = importlib.import_module

    def without(name: str, *rest: Any) -> Any:
        if name == package:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    message = rf"launcher {launcher} needs the package '{package}' \(pip install gatewright\[cluster\]\)"
    with pytest.raises(UserError, match=message):
        create_launcher(launcher)
