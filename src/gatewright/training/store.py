"""The folder of checkpoints: each is written whole or not at all, and checked before it is believed.

A checkpoint is a folder ``step-N``. Its files are written to a hidden folder beside it and flushed to the disk, a
manifest with their SHA-256 sums comes last, and one rename gives the folder its name. What a crash leaves behind is
therefore a hidden folder, never half a checkpoint; damage done later is found by the sums.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gatewright.errors import RunError, UserError
from gatewright.files import sync_folder
from gatewright.reading import read_json_object

MANIFEST = "manifest.json"
NAME = re.compile(r"step-(\d+)")


class CheckpointStore:
    """The checkpoints of one run. ``keep_last`` of them are kept, and the best."""

    def __init__(self, folder: Path, keep_last: int = 1) -> None:
        self.folder = folder
        self.keep_last = keep_last

    def paths(self) -> list[Path]:
        """All checkpoints, oldest first, sound or not."""
        if not self.folder.is_dir():
            return []
        found = [path for path in self.folder.iterdir() if NAME.fullmatch(path.name) and path.is_dir()]
        return sorted(found, key=step_of)

    def save(self, step: int, write: Callable[[Path], None], score: float | None = None) -> Path:
        """Let ``write`` put files into an empty folder and make that folder the checkpoint of ``step``.

        ``score`` is what an evaluation at this very step gave, if there was one: the lowest makes the best checkpoint.
        Raises `RunError`, with every earlier checkpoint intact, when the disk is full or cannot be written.
        """
        final = self.folder / f"step-{step}"
        temporary = self.folder / f".{final.name}.{os.getpid()}"
        with _failing_clearly(final, temporary):
            temporary.mkdir(parents=True)
            write(temporary)
            files = {path.name: _describe(path) for path in sorted(temporary.iterdir())}
            manifest = {"step": step, "score": score, "files": files}
            (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
            for path in temporary.iterdir():
                _sync_file(path)
            sync_folder(temporary)
            if final.exists():  # an unsound one that was skipped on resume, or the same step saved again
                discarded = self.folder / f".{final.name}.replaced"
                shutil.rmtree(discarded, ignore_errors=True)
                final.rename(discarded)
            temporary.rename(final)
            sync_folder(self.folder)
        self.prune()
        return final

    def prune(self) -> None:
        """Remove leftovers of interrupted writes, and all checkpoints but the last ``keep_last`` and the best."""
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path)
        paths = self.paths()
        kept = {*paths[-self.keep_last :], self.best()}
        for path in paths:
            if path not in kept:
                shutil.rmtree(path)

    def newest_sound(self) -> tuple[Path | None, list[str]]:
        """The newest checkpoint whose files are all there and unchanged, and what is wrong with newer ones."""
        problems: list[str] = []
        for path in reversed(self.paths()):
            problem = fault(path)
            if problem is None:
                return path, problems
            problems.append(problem)
        return None, problems

    def best(self) -> Path | None:
        """The checkpoint with the lowest score; the newest where none was evaluated; None without any."""
        paths = self.paths()
        scores = {path: score for path in paths if isinstance(score := _manifest(path).get("score"), float)}
        if scores:
            return min(scores, key=lambda path: scores[path])
        return paths[-1] if paths else None


def step_of(path: Path) -> int:
    """The step a checkpoint folder's name says."""
    match = NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not named step-N")
    return int(match[1])


def fault(path: Path) -> str | None:
    """What is wrong with a checkpoint, as one line; None when every file is there with the recorded SHA-256 sum."""
    files = _manifest(path).get("files")
    if not isinstance(files, dict):
        return f"{path}: {MANIFEST} is missing or unreadable"
    for name, expected in files.items():
        try:
            found = _describe(path / Path(name).name)
        except OSError as error:
            return f"{path}: {name} cannot be read ({error.strerror})"
        if found != expected:
            return f"{path}: {name} is damaged (its size or checksum differs from the manifest)"
    return None


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path / MANIFEST)
    except UserError:
        return {}


def _describe(path: Path) -> dict[str, Any]:
    if not path.is_file():  # a link to a device would be read for ever
        raise OSError(errno.ENOENT, "no ordinary file")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"bytes": path.stat().st_size, "sha256": digest}


def _sync_file(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _failing_clearly(final: Path, temporary: Path) -> Iterator[None]:
    """Remove the temporary folder on any failure; say a failing disk's reason in one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise RunError(f"cannot write checkpoint {final}: {reason}; earlier checkpoints are intact") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
