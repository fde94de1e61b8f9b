"""PyTorch's fused attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.attention.base import Attention
from gatewright.parts.attention.blocks import attend_in_blocks
from gatewright.parts.attention.manual import attend_plainly
from gatewright.registry import register

SHORT, MEDIUM = 256, 512
"""Tokens up to which the compiled formula beats the fused kernel of a CPU, whole or in causal blocks."""


@register("attention", "sdpa")
class SDPAttention(Attention):
    """SDPA: ``scaled_dot_product_attention``, which picks a flash kernel where the hardware has one."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if torch.compiler.is_compiling() and q.device.type == "cpu":
            if mask is None and dropout == 0 and k.shape[-2] <= MEDIUM and not torch.compiler.is_exporting():
                return attend_in_blocks(q, k, v)
            if k.shape[-2] <= SHORT:
                return attend_plainly(q, k, v, mask, dropout)
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=dropout,
            is_causal=mask is None,
            enable_gqa=q.shape[1] != k.shape[1],
        )
