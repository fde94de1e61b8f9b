"""Keeping the C library from handing memory back between the steps of a run."""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of ``mallopt`` (malloc.h of glibc)."""
DEFAULT_TRIM_THRESHOLD, DEFAULT_MMAP_MAX = 128 * 1024, 65_536
NEVER = 2**31 - 1


@contextmanager
def kept_heap() -> Iterator[None]:
    """Let freed memory stay with the process inside, and go back to the system afterwards.

    glibc maps every large tensor afresh and unmaps it when it is freed, so that each step pays for the same pages
    again: the kernel clears them, one fault for 4 KiB. Logits of a large vocabulary cost more that way than their
    arithmetic does. Elsewhere than on glibc nothing is done.
    """
    if platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_TRIM_THRESHOLD, DEFAULT_TRIM_THRESHOLD)
        libc.malloc_trim(0)
