"""FlexAttention, for CUDA."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

from gatewright.parts.attention.base import Attention
from gatewright.parts.attention.manual import attend_plainly
from gatewright.registry import register


@register("attention", "flex")
class FlexAttention(Attention):
    """Flex: PyTorch's FlexAttention, whose masks and biases are compiled into the kernel (arXiv:2412.05496).

    It has a training kernel on CUDA only; on other devices, and with attention dropout, which it lacks, the formula is
    computed as `manual` does. The CUDA path has not been run by the maintainers yet.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        dropout = self.dropout if self.training else 0.0
        if not q.is_cuda or dropout:
            return attend_plainly(q, k, v, mask, dropout)
        grouped = q.shape[1] != k.shape[1]
        return _compiled()(q, k, v, score_mod=_score(mask), enable_gqa=grouped)


@cache
def _compiled() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention)


def _score(mask: Tensor | None) -> Any:
    if mask is None:
        return lambda score, b, h, i, j: torch.where(i >= j, score, -float("inf"))
    table = mask[(None,) * (4 - mask.ndim)]
    batched, headed = table.shape[0] > 1, table.shape[1] > 1

    def masked(score: Tensor, b: Tensor, h: Tensor, i: Tensor, j: Tensor) -> Tensor:
        entry = table[b if batched else 0, h if headed else 0, i, j]
        return torch.where(entry, score, -float("inf")) if table.dtype == torch.bool else score + entry

    return masked
