"""``metrics.jsonl``: one JSON object a line, appended as training goes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gatewright.errors import RunError
from gatewright.files import write_atomic
from gatewright.reading import check_numbers, parse_json

LONGEST_LINE = 2**20
MOST_STEPS = 2**53
ENCODE = json.JSONEncoder(allow_nan=False).encode
"""What `json.dumps` would make anew for each record."""


class MetricsLog:
    """Appends records to a file; a line is written whole and flushed, so a crash can tear the last one only."""

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        """Open ``path``. With ``resume_step``, first drop records of later steps: they will be written again.

        Damaged lines stay where they are, for whoever can make something of them; an end that was torn off goes.
        """
        self.path = path
        if resume_step is not None and path.exists():
            write_atomic(path, b"".join(_kept(path, resume_step)))
        self._file = path.open("a", encoding="utf-8")

    def append(self, record: dict[str, Any]) -> None:
        """Write one record; numbers that are not finite become null. Raises `RunError` when the disk refuses."""
        try:
            self._file.write(_line(record))
            self._file.flush()
        except OSError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a metrics file, in order; lines that are not JSON objects with a step are passed over.

    A run that was killed may end in a torn line, and a resumed one appends behind it.
    """
    return [record for line in _lines(path) if (record := parse_record(line)) is not None]


def damaged_lines(path: Path) -> int:
    """How many lines of a metrics file hold no record, not counting an end that was torn off."""
    return sum(parse_record(line) is None for line in _lines(path) if line.endswith(b"\n") and line.strip())


def parse_record(line: bytes) -> dict[str, Any] | None:
    """The record that a line holds; None where it is no JSON object with a step and numbers, as every record is."""
    try:
        record = parse_json(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or type(record.get("step")) is not int:
        return None
    if not 0 <= record["step"] < MOST_STEPS:
        return None
    return record if check_numbers(record, ("kind",), ("alpha", "reports")) is None else None


def finite(value: Any) -> Any:
    """``value`` with every number in it that JSON cannot hold (NaN, ±inf) replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _kept(path: Path, last: int) -> Iterator[bytes]:
    for line in _lines(path):
        record = parse_record(line)
        if line.endswith(b"\n") if record is None else record["step"] <= last:
            yield line.rstrip(b"\n") + b"\n"


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of an ordinary file, absurdly long ones in pieces; none where there is no file."""
    if path.is_file():
        with path.open("rb") as file:
            yield from iter(lambda: file.readline(LONGEST_LINE), b"")


def _line(record: dict[str, Any]) -> str:
    return ENCODE(finite(record)) + "\n"
