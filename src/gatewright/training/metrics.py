"""``metrics.jsonl``: one JSON object a line, appended as training goes."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from gatewright.errors import RunError
from gatewright.files import write_atomic


class MetricsLog:
    """Appends records to a file; a line is written whole and flushed, so a crash can tear the last one only."""

    def __init__(self, path: Path, resume_step: int | None = None) -> None:
        """Open ``path``. With ``resume_step``, first drop records of later steps: they will be written again."""
        self.path = path
        if resume_step is not None and path.exists():
            kept = [record for record in read_records(path) if record["step"] <= resume_step]
            write_atomic(path, "".join(_line(record) for record in kept))
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
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("step"), int):
            records.append(record)
    return records


def finite(value: Any) -> Any:
    """``value`` with every number in it that JSON cannot hold (NaN, ±inf) replaced by None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value


def _line(record: dict[str, Any]) -> str:
    return json.dumps(finite(record), allow_nan=False) + "\n"
