"""Process-wide settings of torch for the time of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from gatewright.config import TrainConfig


@contextmanager
def runtime(config: TrainConfig) -> Iterator[None]:
    """Set threads and determinism as configured; put everything back afterwards.

    Deterministic algorithms are used where they exist (elsewhere torch warns). Filling fresh memory with NaN, which
    torch does in that mode to expose reads of it, stays off: it costs time and changes no result.
    """
    switches: Any = torch.utils.deterministic  # a module with properties, which type checkers cannot see
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fill = switches.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        torch.use_deterministic_algorithms(True, warn_only=True)
        switches.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        switches.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark
