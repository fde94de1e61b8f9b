"""Attention written out."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.attention.base import Attention
from gatewright.registry import register


@register("attention", "manual")
class ManualAttention(Attention):
    """Manual: the formula as it stands, scores and all in memory; the reference, and fast at short T under compile."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return attend_plainly(q, k, v, mask, self.dropout if self.training else 0.0)


def attend_plainly(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float = 0.0) -> Tensor:
    """Attention by its formula; arguments as of `Attention.attend`."""
    k, v = for_each_query_head(q, k, v)
    scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.shape[-1])
    if mask is None:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype == torch.bool else scores + mask
    weights = torch.softmax(scores.float() if scores.dtype in (torch.bfloat16, torch.float16) else scores, dim=-1)
    return F.dropout(weights.to(q.dtype), dropout, training=dropout > 0) @ v


def for_each_query_head(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values ``(B, H, S, head_dim)``, repeated where groups of the H query heads share theirs."""
    group = q.shape[1] // k.shape[1]
    return (k, v) if group == 1 else (k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1))
