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
    determinism = torch.get_deterministic_debug_mode()
    fill = switches.fill_uninitialized_memory
    benchmark = torch.backends.cudnn.benchmark
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
        _set_determinism(1, config.compile)
        switches.fill_uninitialized_memory = False
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _set_determinism(determinism, config.compile)
        switches.fill_uninitialized_memory = fill
        torch.backends.cudnn.benchmark = benchmark


def _set_determinism(mode: int, compiler: bool) -> None:
    """0: off, 1: warn where there is no deterministic algorithm, 2: raise.

    ``torch.use_deterministic_algorithms`` tells the compiler as well, and imports it for that, which takes seconds.
    """
    if compiler:
        torch.use_deterministic_algorithms(mode > 0, warn_only=mode == 1)
    else:
        torch.set_deterministic_debug_mode(mode)
