"""How a folder of prepared data comes into being whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from gatewright.errors import RunError, UserError
from gatewright.files import sync_folder


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of ``folder`` (a file beside it) against other processes; let go of when the holder dies.

    Raises `UserError` where the lock cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder.with_name(f"{folder.name}.lock"))
        lock.acquire()
    except OSError as error:
        _explain(folder.parent, error)
        raise
    try:
        yield
    finally:
        lock.release()


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder that takes the name ``folder`` if the block ends without an error.

    Call it inside `locked`. What killed processes left is removed first, and so is a damaged ``folder``. Raises
    `RunError` on a full disk, `UserError` where the cache cannot be written.
    """
    prefix = f".{folder.name}."
    temporary: Path | None = None
    try:
        for left in folder.parent.glob(f"{prefix}*.partial"):
            shutil.rmtree(left)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=prefix, suffix=".partial"))
        yield temporary
        for written in [*temporary.rglob("*"), temporary]:
            _sync(written)
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        _explain(folder.parent, error)
        raise
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_folder(path)
    else:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _explain(cache: Path, error: OSError) -> None:
    """Raise what a system error means to the user, if it is one of those a cache meets."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise RunError(f"{cache}: the disk is full; the prepared data were not written (data.cache_dir)") from error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        raise UserError(f"{cache}: cannot be written ({error.strerror}); set data.cache_dir") from error
