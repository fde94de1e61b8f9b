"""Reading text files and telling whether they changed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gatewright.errors import UserError
from gatewright.files import write_atomic
from gatewright.reading import read_json_object

REMEMBERED_FROM = 32 * 2**20
"""Bytes from which on the digest of a file is remembered; smaller files are hashed anew at every start."""


def read_text(path: Path) -> str:
    """The whole text of a UTF-8 file, line ends as they are, without a byte-order mark.

    Raises `UserError` for a file that cannot be opened or is not UTF-8.
    """
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise unreadable(path, error) from error


def decode(raw: bytes, origin: str) -> str:
    """``raw`` as UTF-8 text; `UserError` naming ``origin`` and the first wrong byte."""
    try:
        return raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise UserError(f"{origin}: not UTF-8 text (byte 0x{raw[error.start]:02x} at offset {error.start})") from error


def unreadable(path: Path, error: OSError) -> UserError:
    """The error for a file or folder that the system will not open."""
    return UserError(f"{path}: cannot be read ({error.strerror or error})")


def files_fingerprint(paths: Iterable[Path], memory: Path) -> str:
    """SHA-256 over the endings and contents of files, in order; where they lie and when they were written is left out.

    The digests of large files are remembered below ``memory`` under path, size and modification time, so that the next
    start need not read them again.
    """
    whole = hashlib.sha256()
    for path in paths:
        whole.update(f"{path.suffix.lower()}:{_file_digest(path, memory)}\n".encode())
    return whole.hexdigest()


def _file_digest(path: Path, memory: Path) -> str:
    try:
        before = path.stat()
        if before.st_size < REMEMBERED_FROM:
            return _sha256(path)
        place = str(path.resolve())
        seen = {"path": place, "size": before.st_size, "modified": before.st_mtime_ns}
        note = memory / f"{hashlib.sha256(place.encode()).hexdigest()[:32]}.json"
        known = _remembered(note)
        if "sha256" in known and all(known.get(key) == value for key, value in seen.items()):
            return str(known["sha256"])
        digest = _sha256(path)
    except OSError as error:
        raise unreadable(path, error) from error
    # A file written to within the clock's resolution could change again without showing it: not remembered yet.
    if time.time_ns() - before.st_mtime_ns > 2_000_000_000:
        write_atomic(note, json.dumps({**seen, "sha256": digest}))
    return digest


def _remembered(note: Path) -> dict[str, Any]:
    try:
        return read_json_object(note) if note.exists() else {}
    except UserError:  # damaged: the digest is found anew
        return {}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
