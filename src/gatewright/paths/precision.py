"""Arithmetic in float32 whatever the model's precision: small differences between near distributions are the signal."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    """``x`` in float32 if it is narrower; float32 and float64 stay as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def without_autocast(x: Tensor) -> torch.autocast:
    """A context in which autocast does not narrow products with ``x`` again."""
    return torch.autocast(x.device.type, enabled=False)
