"""Causal attention in blocks of queries: what the compiler makes good loops of on a CPU."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from gatewright.parts.attention.manual import for_each_query_head

BLOCK = 128
"""Queries of a block, which looks at no key after its last: half of the scores of a long text are never computed."""


def attend_in_blocks(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention of T tokens to themselves; arguments as of `Attention.attend`."""
    k, v = for_each_query_head(q, k, v)
    ends = range(BLOCK, q.shape[-2] + BLOCK, BLOCK)
    return torch.cat([_Block.apply(q[..., e - BLOCK : e, :], k[..., :e, :], v[..., :e, :]) for e in ends], dim=-2)


class _Block(torch.autograd.Function):
    """The last of S tokens attend to all of them: p = softmax(q kᵀ / √head_dim), y = p v.

    For the backward pass only p is kept, in the precision it was multiplied in: with g = ∂L/∂y the gradient of the
    scores is p ⊙ (g vᵀ − Σ p ⊙ g vᵀ). Left to itself, autograd keeps the scores as well and takes their exp again.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        wide = torch.promote_types(q.dtype, torch.float32)
        shape = q.shape[-2], k.shape[-2]
        seen = torch.ones(shape, dtype=torch.bool, device=q.device).tril(shape[1] - shape[0])
        scores = (q @ k.mT).to(wide) / math.sqrt(q.shape[-1])
        p = scores.masked_fill(~seen, float("-inf")).softmax(dim=-1).to(v.dtype)
        ctx.save_for_backward(q, k, v, p)
        return p @ v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, p = ctx.saved_tensors
        (by_y,) = gradients
        wide = torch.promote_types(q.dtype, torch.float32)
        by_p = (by_y @ v.mT).to(wide)
        by_scores = p * (by_p - (p * by_p).sum(dim=-1, keepdim=True))
        by_product = (by_scores / math.sqrt(q.shape[-1])).to(q.dtype)
        return by_product @ k, by_product.mT @ q, p.mT @ by_y
