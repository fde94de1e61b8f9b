"""Run directories in the documented format, written by hand, and processes that hold them."""

from __future__ import annotations

import copy
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gatewright.config import Config, to_yaml

STEP_SECONDS = 0.5
HOLDER = """
import sys, filelock
lock = filelock.FileLock(sys.argv[1] + "/.lock")
lock.acquire()
print("held", flush=True)
sys.stdin.read()
"""


def make_config(**train: Any) -> Config:
    """A configuration of 1,000 steps, a checkpoint every 300."""
    config = copy.deepcopy(Config())
    config.train.max_steps, config.train.save_every = 1_000, 300
    for key, value in train.items():
        setattr(config.train, key, value)
    return config


def train_record(step: int, loss: float | None = None, began: float = 0.0, **more: Any) -> dict[str, Any]:
    """A training record; a step takes half a second."""
    return {
        "kind": "train", "step": step, "tokens": 1_024 * step, "loss": 7 - step / 500 if loss is None else loss,
        "lr": 1e-3, "tokens_per_second": 4_096.0, "mfu": 0.25, "alpha": {}, "time": began + STEP_SECONDS * step, **more,
    }  # fmt: skip


def eval_record(step: int, loss: float) -> dict[str, Any]:
    return {"kind": "eval", "step": step, "tokens": 1_024 * step, "val_loss": loss}


def lines(*records: dict[str, Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def write_run(
    path: Path, status: str | None = "running", records: str = "", config: Config | None = None, **environment: Any
) -> Path:
    """A run directory that says ``status`` of itself; None: it was killed before it could say anything."""
    path.mkdir(parents=True, exist_ok=True)
    (path / ".lock").touch()
    (path / "config.yaml").write_text(to_yaml(config or make_config()))
    (path / "environment.json").write_text(json.dumps({"host": platform.node(), **environment}))
    (path / "metrics.jsonl").write_text(records)
    if status is not None:
        summary = {"status": status, "error": None, "architecture": "4L-4H-128D", "max_steps": 1_000}
        (path / "summary.json").write_text(json.dumps(summary))
    return path


@contextmanager
def held(*folders: Path, arguments: tuple[str, ...] = ()) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that hold the folders as training processes do, until they are killed or the block ends."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for folder in folders
    ]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()
