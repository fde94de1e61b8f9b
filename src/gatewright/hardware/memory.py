"""Memory in use now and at its highest, in bytes."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import torch

_STATUS = Path("/proc/self/status")


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
    used, peak = _resident_linux() if sys.platform == "linux" else _resident()
    return Memory(used=used, peak=max(used, peak))


def _resident_linux() -> tuple[int, int]:
    """Resident memory and its high-water mark, of this program alone.

    ``ru_maxrss`` will not do: a program that is executed inherits it from the process that started it.
    """
    status = _STATUS.read_bytes()
    used, peak = (int(status[status.index(key) + len(key) :].split(maxsplit=1)[0]) for key in (b"VmRSS:", b"VmHWM:"))
    return used * 1024, peak * 1024


def _resident() -> tuple[int, int]:
    """Resident memory and its high-water mark elsewhere."""
    now = _process(os.getpid()).memory_info()
    if sys.platform == "win32":
        return now.rss, int(now.peak_wset)
    import resource

    return now.rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS counts bytes


@cache
def _process(number: int) -> psutil.Process:
    """A process by number, which a fork does not inherit; looking one up takes as long as asking it."""
    return psutil.Process(number)
