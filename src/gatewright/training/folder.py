"""The run directory from the writer's side: claimed by one process, its small files always whole."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import filelock
import numpy as np
from numpy.typing import NDArray

from gatewright.config import Config, to_yaml
from gatewright.errors import RunError, UserError
from gatewright.files import write_atomic
from gatewright.plugins import source_of
from gatewright.reading import read_json_object
from gatewright.run import CONFIG, ENVIRONMENT, PLUGINS, SUMMARY, Run
from gatewright.training.metrics import finite

LOCK = ".lock"


def choose_folder(config: Config, architecture: str) -> Path:
    """``config.out``, or ``runs/<architecture>-<time>``."""
    if config.out is not None:
        return Path(config.out)
    if config.resume == "auto":
        raise UserError("resume=auto needs out=, the run directory to continue")
    return Path("runs") / f"{architecture}-{datetime.now():%Y%m%d-%H%M%S}"


def existing_run(folder: Path, resume: str) -> Run | None:
    """The run to continue in ``folder``, or None if a new one may be written there; else `UserError`."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"out={folder} is a file")
    occupied = folder.is_dir() and any(path.name != LOCK for path in folder.iterdir())
    if not occupied:
        return None
    if not (folder / CONFIG).is_file():
        raise UserError(f"out={folder} exists and is not a run directory; choose another out=")
    if resume != "auto":
        raise UserError(f"out={folder} exists; choose another out=, or continue that run with resume=auto")
    return Run(folder)


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Create ``folder`` and hold it against other processes; the hold ends with the process, however it ends."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK)
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        raise UserError(f"out={folder} is in use: another process is training there") from error
    except OSError as error:
        raise UserError(f"out={folder} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


def write_config(folder: Path, config: Config) -> None:
    """Write ``config.yaml``."""
    _write(folder / CONFIG, to_yaml(config))


def write_plugins(folder: Path, config: Config) -> None:
    """Keep the files that ``config`` takes parts from, for reading: nothing is executed from there."""
    for path, content in config.plugins.items():
        _write(folder / PLUGINS / Path(path).name, source_of(content))


def write_environment(folder: Path, record: dict[str, Any], resumed_at: int | None) -> None:
    """Write ``environment.json``. A resumption is added to the list ``resumed`` of the record of the first start."""
    path = folder / ENVIRONMENT
    if resumed_at is not None and path.exists():
        first = read_json_object(path)
        record = {**first, "resumed": [*first.get("resumed", []), {"step": resumed_at, **record}]}
    _write(path, json.dumps(record, indent=1))


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json``; numbers that are not finite become null."""
    _write(folder / SUMMARY, json.dumps(finite(summary), indent=1, allow_nan=False))


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write a NumPy array."""
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    _write(path, content.getvalue())


def _write(path: Path, content: str | bytes) -> None:
    try:
        write_atomic(path, content)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}") from error
