"""What has to be equal: the numbers of runs, and the bytes of what was finished."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from gatewright.run import Run
from gatewright.training.store import fault

CLOCKS = {"time", "tokens_per_second", "flops_per_second", "mfu", "memory_bytes", "peak_memory_bytes", "seconds",
          "reserved_memory_bytes"}  # fmt: skip
WEIGHTS = ("model.safetensors", "optimizer.safetensors")


def numbers(values: dict[str, Any]) -> dict[str, Any]:
    """Without what depends on the clock and on the machine's memory."""
    return {key: value for key, value in values.items() if key not in CLOCKS}


def same_run(ours: Path, theirs: Path, *, but: tuple[int, ...] = ()) -> None:
    """Every record (``but`` those of some steps), the outcome and the last weights are equal bit for bit."""
    one, other = Run(ours), Run(theirs)
    assert [numbers(r) for r in one.metrics()] == [numbers(r) for r in other.metrics() if r["step"] not in but]
    assert numbers(one.summary or {}) == numbers(other.summary or {})
    assert one.status == "finished"
    for name in WEIGHTS:
        found = [(run.checkpoint("last") / name).read_bytes() for run in (one, other)]
        assert found[0] == found[1], name


def contents(folder: Path) -> dict[str, str]:
    """The digest of every file below a folder, by its place."""
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def checkpoints(run: Path) -> dict[str, str]:
    """The bytes of the sound checkpoints of a run."""
    sound = [path for path in Run(run).checkpoints() if fault(path) is None]
    return {f"{path.name}/{name}": digest for path in sound for name, digest in contents(path).items()}


def steps(run: Path) -> list[int]:
    """Of the sound checkpoints."""
    return sorted({int(name.partition("/")[0].removeprefix("step-")) for name in checkpoints(run)})


def resumed_at(run: Path) -> list[int]:
    """The steps at which a run was taken up again."""
    return [start["step"] for start in Run(run).environment.get("resumed", [])]
