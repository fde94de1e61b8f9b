"""Memory in use now and at its highest, in bytes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache

import psutil
import torch


@dataclass(frozen=True)
class Memory:
    """Bytes. On CUDA and MPS those of the device; on the CPU those of this process (resident set)."""

    used: int
    peak: int
    reserved: int | None = None
    """Held by torch's caching allocator, used or not (CUDA and MPS)."""


def memory(device: torch.device) -> Memory:
    """Memory in use on ``device`` and the highest since the process began.

    MPS keeps no highest mark; there the driver's allocation stands in for it.
    """
    if device.type == "cuda":
        return Memory(
            used=torch.cuda.memory_allocated(device),
            peak=torch.cuda.max_memory_allocated(device),
            reserved=torch.cuda.memory_reserved(device),
        )
    if device.type == "mps":
        held = torch.mps.driver_allocated_memory()
        return Memory(used=torch.mps.current_allocated_memory(), peak=held, reserved=held)
    used = _process(os.getpid()).memory_info().rss
    return Memory(used=used, peak=max(used, _peak_resident()))


@cache
def _process(number: int) -> psutil.Process:
    """A process by number, which a fork does not inherit; looking one up takes as long as asking it."""
    return psutil.Process(number)


def _peak_resident() -> int:
    if sys.platform == "win32":
        return int(_process(os.getpid()).memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB, macOS bytes
