"""Sums over all entries of many gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewright.kernels.native_moments import native_moments, native_usable


def moments(tensors: Sequence[Tensor], device: torch.device, first: bool) -> Tensor:
    """``(Σ x²,)``, with ``first`` ``(Σ x², Σ x)``, over all entries of all tensors: float32, on ``device``."""
    if not tensors:
        return torch.zeros(1 + first, device=device)
    if native_usable(tensors):
        return native_moments(tensors)[: 1 + first].float()
    values = [tensor.detach() for tensor in tensors]
    sums = [torch.stack(torch._foreach_norm([value.float() for value in values])).square().sum()]
    if first:
        sums.append(torch.stack([value.sum(dtype=torch.float32) for value in values]).sum())
    return torch.stack(sums)
