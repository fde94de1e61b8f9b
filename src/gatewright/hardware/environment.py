"""The record of what a run ran on: ``environment.json``."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil
import torch

from gatewright.hardware.device import cpu_name, device_name
from gatewright.hardware.measure import Peak

PACKAGES = ("gatewright", "torch", "numpy", "safetensors", "tokenizers", "transformers", "datasets", "triton")


def environment(device: torch.device, precision: str, peak: Peak, seed: int) -> dict[str, Any]:
    """Versions, hardware, peak FLOP/s and its origin, resolved precision, seed, git commit and command line."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": _versions(),
        "device": device.type,
        "device_name": device_name(device),
        "cpu": cpu_name(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": psutil.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": psutil.virtual_memory().total,
        "host": platform.node(),
        "precision": precision,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "peak_flops": peak.flops,
        "peak_how": peak.how,
        "peak_source": peak.source,
        "seed": seed,
        "git": git_state(),
        "command": sys.argv,
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: str | os.PathLike[str] = ".") -> dict[str, Any] | None:
    """``{"commit", "dirty"}`` of the repository around ``folder``; None outside of one or without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: str | os.PathLike[str], *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", os.fspath(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
