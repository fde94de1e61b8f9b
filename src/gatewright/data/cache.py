"""How a folder of prepared data comes into being whole or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from gatewright.errors import RunError, UserError
from gatewright.files import sync_file, sync_folder


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
def workshop(folder: Path) -> Iterator[Path]:
    """Yield the folder beside ``folder`` in which it is being made; what an earlier attempt left is still there.

    Call it inside `locked`. It is emptied when the block ends well, and on a `UserError`, for then it is of no more
    use. Raises `RunError` on a full disk, `UserError` where the cache cannot be written.
    """
    work = folder.with_name(f".{folder.name}.partial")
    try:
        work.mkdir(exist_ok=True)
        yield work
        shutil.rmtree(work, ignore_errors=True)
    except UserError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    except OSError as error:
        _explain(work, error)
        raise


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """The `workshop` of ``folder``, which takes its name if the block ends without an error."""
    with workshop(folder) as work:
        yield work
        for written in [*work.rglob("*"), work]:
            if written.is_dir():
                sync_folder(written)
            else:
                sync_file(written)
        if folder.exists():
            shutil.rmtree(folder)
        work.rename(folder)
        sync_folder(folder.parent)


def _explain(place: Path, error: OSError) -> None:
    """Raise what a system error means to the user, if it is one of those a cache meets."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = "the disk is full (data.cache_dir says where)" if full else error.strerror
        raise RunError(f"{place}: {what}; the same command goes on from there") from error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        raise UserError(f"{place}: cannot be written ({error.strerror}); set data.cache_dir") from error
