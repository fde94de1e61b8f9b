"""Memory that stays with the process between steps."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch

from gatewright.training.heap import kept_heap

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory as they like")


def faults(times: int) -> int:
    """Pages the kernel had to provide for ``times`` tensors of 64 MiB, one after another."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def pay() -> None:
    """What the test below asks for."""
    faults(1)
    with kept_heap():
        first = faults(1)
        faults(20)  # small objects may settle between the first ones, until there is room for all
        assert faults(10) < 0.1 * first
        kept = psutil.Process().memory_info().rss
    assert kept - psutil.Process().memory_info().rss > 0.9 * 4 * 2**24  # a tensor's worth, at the least, goes back


@glibc
def test_pages_are_paid_for_once() -> None:
    """In a process of its own: in a heap that others have used there may be room for a tensor anyway."""
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_heap; test_heap.pay()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_it_ends_with_an_error_inside() -> None:
    with pytest.raises(KeyError), kept_heap():
        raise KeyError
    assert faults(2) > 0
