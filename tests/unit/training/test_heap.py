"""Memory that stays with the process between steps."""

from __future__ import annotations

import platform
import resource

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


@glibc
def test_pages_are_paid_for_once() -> None:
    faults(1)
    with kept_heap():
        first = faults(1)
        assert faults(10) < 0.1 * first
    assert faults(10) > 5 * first


def test_it_ends_with_an_error_inside() -> None:
    with pytest.raises(KeyError), kept_heap():
        raise KeyError
    assert faults(2) > 0
