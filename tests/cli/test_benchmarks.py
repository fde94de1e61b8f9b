"""The benchmarks run, at no size: what they measure is not looked at, that they measure is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (["training.py", "--shape", "toy", "--rounds", "2", "--quick", "--peers", "transformers"], "transformers"),
        (["anatomy.py", "--shape", "toy"], "matrix products of layers and head"),
        (["variants.py", "logging", "--shape", "toy", "--rounds", "2"], "every step, TensorBoard"),
        (["scale.py", "--shape", "toy", "--dimensions", "n_layer", "--rounds", "2"], "layers"),
        (["listening.py", "--toy", "--tokens", "2", "--turns", "1"], "bhattacharyya"),
        (["generation.py", "--shape", "toy", "--tokens", "2", "--rows", "2", "--turns", "1"], "gatewright"),
    ],
)
def test_it_runs(command: list[str], named: str, tmp_path: Path) -> None:
    out = tmp_path / "results" / "numbers.json"
    done = subprocess.run(
        [sys.executable, BENCHMARKS / command[0], *command[1:], "--out", out], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    rows = {row["name"]: row for row in found.get("contenders") or found["rows"]}
    row = rows[named]
    kinds = ("first_over_it", "times_the_first", "times_none", "times_the_seconds", "share")
    times = next(row[kind] for kind in kinds if kind in row)
    times = times if isinstance(times, list) else [times]
    assert all(number > 0 for number in times)
    assert found["machine"]["peak_bf16"] > 0
