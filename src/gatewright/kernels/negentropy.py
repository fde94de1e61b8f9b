"""``Σ m ln m`` of the means of all pairs of distributions, which the Jensen–Shannon gate is made of.

The terms never stand in memory: a program reads a stretch of two rows once and leaves one number. `forward` and
`backward` are each one launch; the reference is `gatewright.paths.similarities.jsd`.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024
STRETCH = 8 * BLOCK
"""Tokens that one program adds up in float32; its totals are added in float64."""
TINY = torch.finfo(torch.float32).tiny


@triton.jit
def _add_up(log_p, totals, n, vocabulary, stretches, tiny: tl.constexpr, block: tl.constexpr, stretch: tl.constexpr):
    pair, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    group, i, j = pair // (n * n), pair // n % n, pair % n
    if i > j:
        return
    first, second = log_p + (group * n + i) * vocabulary, log_p + (group * n + j) * vocabulary
    total = tl.zeros((block,), tl.float32)
    for start in range(0, stretch, block):
        tokens = part * stretch + start + tl.arange(0, block)
        there = tokens < vocabulary
        p = tl.exp(tl.load(first + tokens, there, other=-float("inf")).to(tl.float32))
        q = tl.exp(tl.load(second + tokens, there, other=-float("inf")).to(tl.float32))
        m = (0.5 * p + tiny) + (0.5 * q + tiny)
        total += tl.where(there, m * tl.log(m), 0.0)
    tl.store(totals + pair * stretches + part, tl.sum(total, 0))


@triton.jit
def _differentiate(log_p, weights, out, n, vocabulary, tiny: tl.constexpr, block: tl.constexpr):
    row, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    group = row // n
    tokens = part * block + tl.arange(0, block)
    there = tokens < vocabulary
    p = tl.exp(tl.load(log_p + row * vocabulary + tokens, there, other=-float("inf")).to(tl.float32))
    total = tl.zeros((block,), tl.float32)
    for j in range(n):
        other = log_p + (group * n + j) * vocabulary
        q = tl.exp(tl.load(other + tokens, there, other=-float("inf")).to(tl.float32))
        m = (0.5 * p + tiny) + (0.5 * q + tiny)
        total += tl.load(weights + row * n + j) * (1.0 + tl.log(m))
    tl.store(out + row * vocabulary + tokens, 0.5 * p * total, there)


class MeanNegentropy(torch.autograd.Function):
    """``(B, N, V)`` log-probabilities in float32 to ``(B, N, N)`` in float64."""

    @staticmethod
    def forward(ctx: Any, log_p: Tensor) -> Tensor:
        """Σ m ln m for i ≤ j, mirrored."""
        log_p = log_p.contiguous()
        groups, n, vocabulary = log_p.shape
        stretches = triton.cdiv(vocabulary, STRETCH)
        totals = log_p.new_zeros((groups, n, n, stretches), dtype=torch.float32)
        _add_up[groups * n * n, stretches](
            log_p, totals, n, vocabulary, stretches, tiny=TINY, block=BLOCK, stretch=STRETCH
        )
        ctx.save_for_backward(log_p)
        upper = totals.sum(-1, dtype=torch.float64)
        return upper + upper.triu(1).mT

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """``∂h_ij / ∂ ln p_i = ½ p_i (1 + ln m_ij)``, for both places of each pair."""
        (log_p,) = ctx.saved_tensors
        groups, n, vocabulary = log_p.shape
        weights = (gradient + gradient.mT).float().contiguous()
        out = torch.empty_like(log_p)
        _differentiate[groups * n, triton.cdiv(vocabulary, BLOCK)](
            log_p, weights, out, n, vocabulary, tiny=TINY, block=BLOCK
        )
        return out
