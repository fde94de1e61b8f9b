"""metrics.jsonl: appended line by line, cut back on resume, readable after a crash."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from gatewright.errors import RunError
from gatewright.training.metrics import MetricsLog, read_records


def write(path: Path, steps: range, resume_step: int | None = None) -> None:
    log = MetricsLog(path, resume_step)
    for step in steps:
        log.append({"kind": "train", "step": step, "loss": 1 / step})
    log.close()


def test_each_record_is_on_the_disk_at_once(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.append({"step": 1, "loss": 0.1 + 0.2})
    assert read_records(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 0.1 + 0.2}]
    log.close()


def test_resuming_drops_later_records_and_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, range(1, 8))
    with path.open("a") as file:
        file.write('{"kind": "train", "step": 8, "lo')
    write(path, range(5, 9), resume_step=4)
    assert [record["step"] for record in read_records(path)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_reading_passes_over_what_is_not_a_record(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\xfe\n[1, 2]\n{"step": "two"}\n\n{"step": 3}\n{"step": 4')
    assert read_records(path) == [{"step": 1}, {"step": 3}]
    assert read_records(tmp_path / "none.jsonl") == []


def test_numbers_json_cannot_hold_become_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path)
    log.append({"step": 1, "grad_norm": float("inf"), "alpha": {"0": float("nan"), "1": 0.5}})
    log.close()
    assert path.read_text() == '{"step": 1, "grad_norm": null, "alpha": {"0": null, "1": 0.5}}\n'


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_is_a_run_error() -> None:
    log = MetricsLog(Path("/dev/full"))
    with pytest.raises(RunError, match="cannot write /dev/full: No space left on device") as caught:
        log.append({"step": 1})
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
