"""The peak of this machine: tabulated for accelerators, measured for CPUs."""

from __future__ import annotations

import json
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from gatewright.cache import cache_root
from gatewright.files import write_atomic
from gatewright.hardware.device import cpu_name, device_name
from gatewright.hardware.peaks import find_peak

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SIZE = 1536
SECONDS = 0.4


@dataclass(frozen=True)
class Peak:
    """The most FLOP/s a device can do in a precision, and how that is known."""

    flops: float | None
    """FLOP/s, or None where unknown; MFU is then null."""
    how: str
    """``tabulated``, ``measured`` or ``unknown``."""
    source: str


def peak_flops(device: torch.device, precision: str) -> Peak:
    """Dense peak of ``device`` in ``float32``, ``bf16`` or ``fp16``.

    Accelerators are looked up by name. On CUDA a float32 product runs on TF32 tensor cores when torch's matmul
    precision is not ``highest``, and is then held against their rate. CPUs are measured once and remembered.
    """
    if device.type == "cpu":
        how = f"best of {SIZE}x{SIZE} products on {torch.get_num_threads()} threads"
        return Peak(_cpu_peak(precision), "measured", how)
    name = device_name(device)
    row = find_peak(name)
    if row is None:
        return Peak(None, "unknown", f"no dense peak is tabulated for '{name}'")
    tf32 = device.type == "cuda" and precision == "float32" and torch.get_float32_matmul_precision() != "highest"
    rate = row.flops("tf32" if tf32 and row.tf32 else precision)
    if rate is None:
        return Peak(None, "unknown", f"{row.device} has no {precision} peak")
    return Peak(rate, "tabulated", f"{row.device}: {row.source}")


def measure_cpu(precision: str, seconds: float = SECONDS, size: int = SIZE) -> float:
    """FLOP/s of the best of repeated ``size`` x ``size`` matrix products (2 size³ each) within ``seconds``.

    The best and not the mean, because whatever else the machine does can only slow a product down.
    """
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(size, size, generator=generator).to(DTYPES[precision])
    right = torch.randn(size, size, generator=generator).to(DTYPES[precision])
    out = torch.empty(size, size, dtype=DTYPES[precision])
    torch.mm(left, right, out=out)  # the first product pays for set-up
    best = float("inf")
    end = time.perf_counter() + seconds
    while True:
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        now = time.perf_counter()
        best = min(best, now - start)
        if now >= end:
            return 2 * size**3 / best


def _cpu_peak(precision: str) -> float:
    """The measured peak, remembered per machine, thread count, precision, matmul mode and torch version."""
    key = " | ".join(
        (
            cpu_name(),
            platform.node(),
            f"{torch.get_num_threads()} threads",
            precision,
            torch.get_float32_matmul_precision(),
            f"torch {torch.__version__}",
        )
    )
    path = cache_root() / "cpu-peaks.json"
    known = _read(path)
    if key not in known:
        flops = measure_cpu(precision)
        try:
            write_atomic(path, json.dumps({**_read(path), key: flops}, indent=1))
        except OSError:
            return flops  # a cache that cannot be written costs the next run a measurement, nothing else
        return flops
    return known[key]


def _read(path: Path) -> dict[str, float]:
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {key: rate for key, rate in known.items() if isinstance(rate, float) and rate > 0}
