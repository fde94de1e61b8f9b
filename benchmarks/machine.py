"""What a benchmark ran on, and the most it could have reached."""

from __future__ import annotations

import datetime
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gatewright.hardware.device import cpu_name
from gatewright.hardware.measure import measure_cpu


@dataclass(frozen=True)
class Machine:
    """For the head of every table."""

    cpu: str
    threads: int
    torch: str
    commit: str
    date: str
    peak_float32: float
    """FLOP/s of matrix products, the best seen."""
    peak_bf16: float


def describe_machine() -> dict[str, Any]:
    """This machine, measured now."""
    root = Path(__file__).parent.parent
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=root, capture_output=True, text=True)
    changed = subprocess.run(["git", "diff", "--quiet", "HEAD", "--", "src", "benchmarks/*.py"], cwd=root)
    return asdict(
        Machine(
            cpu_name(),
            torch.get_num_threads(),
            torch.__version__,
            commit.stdout.strip() + ("-dirty" if changed.returncode == 1 else "") or "no repository",
            datetime.date.today().isoformat(),
            measure_cpu("float32"),
            measure_cpu("bf16"),
        )
    )
