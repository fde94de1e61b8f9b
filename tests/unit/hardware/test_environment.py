"""The device that is chosen, the record of it, and the doctor."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from gatewright.errors import UserError
from gatewright.hardware import doctor
from gatewright.hardware.compiler import cpp_compiler
from gatewright.hardware.device import cpu_name, resolve_device
from gatewright.hardware.environment import environment, git_state
from gatewright.hardware.measure import Peak
from gatewright.hardware.memory import memory

CPU = torch.device("cpu")


def test_auto_prefers_cuda_then_mps_then_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for cuda, mps, expected in [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]:
        monkeypatch.setattr(torch.cuda, "is_available", lambda cuda=cuda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda mps=mps: mps)
        assert resolve_device("auto").type == expected


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"device=cuda: .* sees no such device here"):
        resolve_device("cuda")
    with pytest.raises(UserError, match="device=tpu: not one of auto, cpu, cuda, mps"):
        resolve_device("tpu")


def test_environment_is_json_and_says_where_the_peak_comes_from() -> None:
    record = json.loads(json.dumps(environment(CPU, "bf16", Peak(1e12, "measured", "products"), seed=7)))
    assert record["packages"]["torch"] == torch.__version__
    assert record["seed"] == 7
    assert (record["peak_flops"], record["peak_how"], record["peak_source"]) == (1e12, "measured", "products")
    assert record["threads"] == torch.get_num_threads()
    assert record["cpu"] == cpu_name() != ""
    assert record["memory_bytes"] > 1e8


def test_git_commit_and_whether_it_is_clean(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None

    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
        answer = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )
        return answer.stdout.strip()

    git("init", "-q")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-q", "-m", "first")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "file").write_text("two")
    assert git_state(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": True}


def test_memory_counts_what_is_allocated() -> None:
    before = memory(CPU)
    block = torch.ones(40_000_000)  # 160 MB, touched
    during = memory(CPU)
    assert during.used - before.used > 120_000_000
    assert during.peak >= during.used
    del block
    assert memory(CPU).peak > 0.99 * during.peak  # the kernel's two counters differ by a few pages


def test_a_compiler_is_found_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert cpp_compiler() is None
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    assert cpp_compiler() == str(compiler)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "peak_flops", lambda device, precision: Peak(1e12, "measured", "products"))
    return tmp_path / "cache"


def test_doctor_finds_a_working_installation(cache: Path) -> None:
    checks = {check.name: check for check in doctor.report()}
    assert {"python", "torch", "device", "bf16", "cache", "disk", "corpus", "torch.compile"} <= checks.keys()
    for name in ("python", "torch", "device", "cache", "corpus"):
        assert checks[name].status == "ok", checks[name]
    assert all(check.advice for check in checks.values() if check.status != "ok")


def test_doctor_says_what_to_do(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file where the folder should be")
    monkeypatch.setattr(doctor, "cpp_compiler", lambda: None)
    monkeypatch.setattr(doctor, "find_spec", lambda package: None)
    checks = {check.name: check for check in (doctor.check_cache(), doctor.check_compile(), doctor.check_extra("onnx"))}
    assert (checks["cache"].status, checks["cache"].advice) == (
        "fail",
        "set GATEWRIGHT_CACHE to a folder you can write",
    )
    assert checks["torch.compile"].status == "warn"
    assert checks["onnx"].advice == "pip install gatewright[dev]"
