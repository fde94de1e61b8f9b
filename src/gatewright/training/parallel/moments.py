"""Sums over all entries of many gradients."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewright.kernels.native_moments import native_moments, native_usable


def total(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Σ x over all entries of all tensors, a 0-d float32 tensor on ``device``."""
    if not tensors:
        return torch.zeros((), device=device)
    if native_usable(tensors):
        return native_moments(tensors)[0].float()
    return torch.stack([tensor.detach().sum(dtype=torch.float32) for tensor in tensors]).sum()


def squares(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    """Σ x² over all entries of all tensors, a 0-d float32 tensor on ``device``."""
    if not tensors:
        return torch.zeros((), device=device)
    if native_usable(tensors):
        return native_moments(tensors)[1].float()
    return torch.stack(torch._foreach_norm([tensor.detach().float() for tensor in tensors])).square().sum()
