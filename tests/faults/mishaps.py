"""What goes wrong inside a process: dying at a chosen file operation, a small disk, a clock, too little memory."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

NEW_USER, NEW_MOUNTS = 0x10000000, 0x00020000
READ_ONLY, REMOUNT, BIND = 1, 32, 4096

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class DieAt:
    """``kill -9`` at the ``moment``-th time that the process creates, writes or renames a file whose path has ``part``.

    Python tells of each before it is done, whoever asks for it. So the moments can be gone through one by one, and a
    test need not know what is written in which order.
    """

    part: str
    moment: int

    def __call__(self) -> None:
        seen = 0

        def look(event: str, given: tuple[object, ...]) -> None:
            nonlocal seen
            if event == "open":
                path, _, flags = given
                if not isinstance(flags, int) or not flags & WRITING:
                    return
                paths = [path]
            elif event in ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
                paths = list(given[:2])
            else:
                return
            if any(self.part in str(path) for path in paths if isinstance(path, (str, os.PathLike))):
                seen += 1
                if seen == self.moment:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(look)


@dataclass(frozen=True)
class SmallFiles:
    """The operating system refuses to let a file grow beyond so many bytes: a write in the middle of a file fails."""

    largest: int

    def __call__(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self.largest, self.largest))


@dataclass(frozen=True)
class SmallDisk:
    """A disk of so many bytes at ``place``, which only this process sees; it is copied to ``kept`` at the end."""

    place: Path
    size: int
    kept: Path

    def __call__(self) -> None:
        _own_mounts()
        _mount("tmpfs", self.place, "tmpfs", 0, f"size={self.size}")
        _at_the_end(lambda: _copy(self.place, self.kept))


@dataclass(frozen=True)
class ReadOnly:
    """``place`` becomes a read-only file system, for this process; permissions alone do not stop root."""

    place: Path

    def __call__(self) -> None:
        _own_mounts()
        _mount(str(self.place), self.place, "", BIND, "")
        _mount(str(self.place), self.place, "", BIND | REMOUNT | READ_ONLY, "")


class ClockGoesBackwards:
    """``time.time()`` loses a minute at every look, as if somebody kept setting it back."""

    def __call__(self) -> None:
        began, looks = time.time(), 0

        def backwards() -> float:
            nonlocal looks
            looks += 1
            return began - 60.0 * looks

        time.time = backwards


def can_mount() -> bool:
    """Whether a process may have file systems of its own here; containers and some systems forbid it."""
    child = os.fork()
    if child == 0:
        try:
            _own_mounts()
            _mount("tmpfs", Path("/tmp"), "tmpfs", 0, "size=4096")
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _own_mounts() -> None:
    user, group = os.getuid(), os.getgid()
    _call("unshare", NEW_USER | NEW_MOUNTS)
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    _call("mount", source.encode(), str(target).encode(), kind.encode(), flags, options.encode())


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _copy(place: Path, kept: Path) -> None:
    import shutil

    shutil.copytree(place, kept)


def _at_the_end(action: Callable[[], object]) -> None:
    """Processes of `multiprocessing` leave without the usual farewell; this is theirs."""
    from multiprocessing import util

    util.Finalize(None, action, exitpriority=1)
