"""The folder of checkpoints: each is written whole or not at all, and checked before it is believed.

A checkpoint is a folder ``step-N``. Its files are written to a hidden folder beside it and flushed to the disk, by as
many processes as there are; a manifest with their SHA-256 sums comes last, and one rename gives the folder its name.
What a crash leaves behind is therefore a hidden folder, never half a checkpoint; later damage is found by the sums.
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
from io import BufferedReader
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from safetensors import SafetensorError

from gatewright.errors import RunError, UserError
from gatewright.files import sync_folder
from gatewright.reading import read_json_object

MANIFEST = "manifest.json"
NAME = re.compile(r"step-(\d+)")
T = TypeVar("T")


class Peers(Protocol):
    """The processes that write one checkpoint."""

    @property
    def is_main(self) -> bool:
        """Whether this one gives the checkpoint its name."""

    def exchange(self, value: Any) -> list[Any]:
        """The values of all of them."""


class Alone:
    """The only process there is."""

    is_main = True

    def exchange(self, value: Any) -> list[Any]:
        """The value."""
        return [value]


ALONE = Alone()


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

    def save(
        self, step: int, write: Callable[[Path], list[str]], score: float | None = None, peers: Peers = ALONE
    ) -> Path:
        """Let ``write`` put files into an empty folder and make that folder the checkpoint of ``step``.

        ``write`` returns the names of its files. Every one of ``peers`` has to call this, with files of its own.
        ``score`` is what an evaluation at this very step gave, if there was one: the lowest makes the best checkpoint.
        Raises `RunError`, with every earlier checkpoint intact, when the disk of one of them is full or cannot be
        written: in all of them.
        """
        final = self.folder / f"step-{step}"
        temporary = self.folder / f".{final.name}.{os.getpid()}"
        with _failing_clearly(final, temporary):
            temporary = together(peers, lambda: _create(temporary) if peers.is_main else temporary)[0]
            parts = together(peers, lambda: {name: _describe(temporary / name, sync=True) for name in write(temporary)})
            manifest = {"step": step, "score": score, "files": dict(sorted(pair for p in parts for pair in p.items()))}
            together(peers, lambda: self._publish(temporary, final, manifest) if peers.is_main else None)
        return final

    def _publish(self, temporary: Path, final: Path, manifest: dict[str, Any]) -> None:
        """Give a written folder its manifest and its name, and remove those it makes superfluous."""
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1))
        _describe(temporary / MANIFEST, sync=True)
        sync_folder(temporary)
        if final.exists():  # an unsound one that was skipped on resume, or the same step saved again
            discarded = self.folder / f".{final.name}.replaced"
            shutil.rmtree(discarded, ignore_errors=True)
            final.rename(discarded)
        temporary.rename(final)
        sync_folder(self.folder)
        self.prune()

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
        scores = {path: score for path in paths if isinstance(score := read_manifest(path).get("score"), float)}
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
    return next(faults(path), None)


def faults(path: Path, thorough: bool = True) -> Iterator[str]:
    """All that is wrong with a checkpoint, one line for each file; sizes alone are compared if not ``thorough``."""
    files = read_manifest(path).get("files")
    if not isinstance(files, dict) or not files:
        yield f"{path}: {MANIFEST} is missing or unreadable"
        return
    for name, expected in files.items():
        try:
            file = path / Path(name).name
            found = _describe(file) if thorough else {**dict(expected), "bytes": file.stat().st_size}
        except (OSError, ValueError, TypeError) as error:
            yield f"{path}: {name} cannot be read ({getattr(error, 'strerror', None) or error})"
            continue
        if found != expected:
            yield f"{path}: {name} is damaged (its size or checksum differs from the manifest)"


def read_manifest(path: Path) -> dict[str, Any]:
    """What was recorded of a checkpoint's files; empty if that cannot be read."""
    try:
        return read_json_object(path / MANIFEST)
    except UserError:
        return {}


def together(peers: Peers, action: Callable[[], T]) -> list[T]:
    """What ``action`` gives in each process. If it fails in one, all raise: nobody waits for one that left."""
    value, failure = None, None
    try:
        value = action()
    except Exception as error:
        failure = error
    reason = None if failure is None else (isinstance(failure, OSError), _reason(failure))
    answers: list[tuple[Any, tuple[bool, str] | None]] = peers.exchange((value, reason))
    if failure is not None:
        raise failure
    for rank, (_, reason) in enumerate(answers):
        if reason is not None:
            raise (OSError if reason[0] else RuntimeError)(f"{reason[1]} (process {rank})")
    return [value for value, _ in answers]


def _create(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _describe(path: Path, sync: bool = False) -> dict[str, Any]:
    """Size and SHA-256 sum of a file, which is also flushed to the disk if ``sync``."""
    if not path.is_file():  # a link to a device would be read for ever
        raise OSError(errno.ENOENT, "no ordinary file")
    with path.open("rb+" if sync else "rb") as file:
        digest = hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest()
        if sync:
            os.fsync(file.fileno())
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


@contextmanager
def _failing_clearly(final: Path, temporary: Path) -> Iterator[None]:
    """Remove the temporary folder on any failure; say a failing disk's reason in one line."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(f"cannot write checkpoint {final}: {_reason(error)}; earlier checkpoints are intact") from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
