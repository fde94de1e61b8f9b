"""Writing files and folders so that a reader, or the next start after a crash, never sees half of one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from gatewright.errors import RunError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Put ``content`` at ``path`` as a whole or not at all.

    The bytes go to a temporary name in the same folder, are flushed to the disk, and then take the final name in
    one rename. On failure the temporary file is removed and whatever stood at ``path`` before is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write into that takes the name ``folder`` when all is well, and vanishes otherwise.

    Raises `RunError` when the disk cannot be written.
    """
    from safetensors import SafetensorError  # which has its own name for a full disk

    temporary = folder.absolute().parent / f".{folder.name}.{uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for path in temporary.iterdir():
            sync_file(path)
        sync_folder(temporary)
        temporary.rename(folder)
        sync_folder(temporary.parent)
    except (OSError, SafetensorError) as error:
        raise RunError(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sync_file(path: Path) -> None:
    """Make what was written to ``path`` durable."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make renames inside ``folder`` durable (a no-op where folders cannot be opened, as on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
