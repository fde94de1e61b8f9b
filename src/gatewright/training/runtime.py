"""Process-wide settings of torch and the C library for the time of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from gatewright.config import TrainConfig
from gatewright.training.heap import kept_heap


@contextmanager
def runtime(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Set threads and determinism as configured, keep the heap on a CPU; put everything back afterwards.

    Deterministic algorithms are used where they exist (elsewhere torch warns). Filling fresh memory with NaN, which
    torch does in that mode to expose reads of it, stays off: it costs time and changes no result.
    """
    switches: Any = torch.utils.deterministic  # a module with properties, which type checkers cannot see
    threads = torch.get_num_threads()
    determinism = torch.get_deterministic_debug_mode()
    fill = switches.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.set_deterministic_debug_mode("warn")  # use_deterministic_algorithms would import the compiler: seconds
        switches.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = False
    with kept_heap() if device.type == "cpu" else nullcontext():
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_deterministic_debug_mode(determinism)
            switches.fill_uninitialized_memory = fill
            torch.backends.cudnn.benchmark = benchmark
