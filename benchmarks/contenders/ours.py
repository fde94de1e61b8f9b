"""`gatewright train` as a user starts it, logging, progress and all; only the model and its batch are set.

It is a long run, broken off when enough was seen of it, because how long a run is decides whether it is compiled.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from job import answer, asked, train_options


def records(metrics: Path) -> list[dict[str, Any]]:
    """The training records so far; the last line may be half a line."""
    lines = metrics.read_text().split("\n")[:-1] if metrics.exists() else []
    return [record for record in map(json.loads, lines) if record["kind"] == "train"]


job = asked()
with tempfile.TemporaryDirectory() as place:
    run, complaints = Path(place) / "run", Path(place) / "complaints.txt"
    command = [sys.executable, "-m", "gatewright", "train", *train_options(job, job.text, run), *sys.argv[2:]]
    with (
        complaints.open("w") as file,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file) as process,
    ):
        assert process.stdout is not None
        seen = []
        for _ in process.stdout:  # a line for each record, among others
            seen = records(run / "metrics.jsonl")
            timed = [record for record in seen if record["step"] >= job.warmup]
            if timed and timed[-1]["step"] >= timed[0]["step"] + job.steps:
                break
        else:
            raise SystemExit(complaints.read_text() or "the run ended early")
        process.kill()
tokens, seconds = timed[-1]["tokens"] - timed[0]["tokens"], timed[-1]["time"] - timed[0]["time"]
answer(tokens / seconds, seen[0]["loss"], resource.RUSAGE_CHILDREN)
