"""``Σ m ln m`` for the means of all pairs of rows on a CPU, by the loop of ``negentropy.cpp``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gatewright.kernels.native import INDEX, POINTER, native, native_function

LARGE = 2**20
"""Logarithms of one group from which on the loop is worth a compiler: 16,384 tokens for 8 paths."""


def native_usable(log_p: Tensor) -> bool:
    """Whether the loop can and should work on ``log_p`` ``(..., N, V)``. It has no gradients."""
    n, vocabulary = log_p.shape[-2:]
    return (
        log_p.device.type == "cpu"
        and log_p.dtype == torch.float32
        and n * n * vocabulary >= LARGE
        and not (torch.is_grad_enabled() and log_p.requires_grad)
        and not torch.compiler.is_compiling()
        and native("negentropy") is not None
    )


def native_mean_negentropy(log_p: Tensor) -> Tensor:
    """``(B, N, V)`` in float32 to ``(B, N, N)`` in float64; threads share the tokens."""
    groups, n, vocabulary = log_p.shape
    threads = torch.get_num_threads()
    p = log_p.exp().contiguous()
    total = torch.zeros(groups, threads, n, n, dtype=torch.float64)
    loop = native_function("negentropy", "mean_negentropy", POINTER, INDEX, INDEX, INDEX, INDEX, POINTER)
    loop(p.data_ptr(), groups, n, vocabulary, threads, total.data_ptr())
    upper = total.sum(1) * math.log(2)
    return upper + upper.triu(1).mT
