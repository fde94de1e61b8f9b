"""Choosing a device, and the few things that are spelt differently on each of them."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path

import torch

from gatewright.errors import UserError


def resolve_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu``, ``cuda`` or ``mps`` stands for here; `UserError` where there is none."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if name not in available:
        raise UserError(f"device={name}: not one of auto, {', '.join(sorted(available))}")
    if not available[name]:
        usable = [kind for kind, there in available.items() if there]
        raise UserError(
            f"device={name}: torch {torch.__version__} sees no such device here (usable: {', '.join(usable)})"
        )
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """The maker's name of the device, such as ``NVIDIA H100 80GB HBM3`` or ``Apple M2 Pro``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name()


@cache
def cpu_name() -> str:
    """The processor's marketing name (on Apple silicon also the name of its GPU), or the architecture if unknown."""
    if platform.system() == "Darwin":
        answer = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if answer.stdout.strip():
            return answer.stdout.strip()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def synchronize(device: torch.device) -> None:
    """Wait until the device has done everything asked of it, so that a clock read next is honest."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 products run on units made for them: CUDA from sm80 on, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # torch 2.13 on; before that: not known
        abilities = torch.cpu.get_capabilities()
        return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))
    return False
