"""PyTorch's fused attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from gatewright.parts.attention.base import Attention
from gatewright.registry import register


@register("attention", "sdpa")
class SDPAttention(Attention):
    """SDPA: ``scaled_dot_product_attention``, which picks a flash kernel where the hardware has one."""

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None,
            enable_gqa=q.shape[1] != k.shape[1],
        )
