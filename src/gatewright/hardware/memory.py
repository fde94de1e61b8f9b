"""Memory in use now and at its highest, in bytes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

if sys.platform != "win32":
    import resource

    _INHERITED = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    """Linux hands the highest mark down from the process that starts another: as long as it stays, it may be that."""


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
    now = _process(os.getpid()).memory_info()
    return Memory(used=now.rss, peak=max(now.rss, _peak_resident(now)))


@cache
def _process(number: int) -> psutil.Process:
    """A process by number, which a fork does not inherit; looking one up takes as long as asking it."""
    return psutil.Process(number)


def _peak_resident(now: Any) -> int:
    if sys.platform == "win32":
        return int(now.peak_wset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak  # in bytes; Linux counts KiB
    if peak > _INHERITED:
        return peak * 1024
    status = Path("/proc/self/status").read_bytes()  # this takes five times as long
    return int(status.partition(b"VmHWM:")[2].split(maxsplit=1)[0]) * 1024
