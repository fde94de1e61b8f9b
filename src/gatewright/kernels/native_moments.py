"""``Σ x²`` and ``Σ x`` over many tensors on a CPU in one pass, by the loop of ``moments.cpp``."""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from gatewright.kernels.native import INDEX, POINTER, native, native_function


def native_usable(tensors: Sequence[Tensor]) -> bool:
    """Whether the loop can work on ``tensors``: those on a CPU in float32 that lie one after another."""
    fit = all(x.dtype is torch.float32 and x.device.type == "cpu" and x.is_contiguous() for x in tensors)
    return fit and native("moments") is not None


def native_moments(tensors: Sequence[Tensor]) -> Tensor:
    """``(Σ x², Σ x)`` in float64. Overflows where a sum of 16,384 squares does in float32."""
    count = len(tensors)
    addresses = (c_void_p * count)(*[x.data_ptr() for x in tensors])
    sizes = (c_int64 * count)(*[x.numel() for x in tensors])
    found = torch.empty(2, dtype=torch.float64)
    loop = native_function("moments", "moments", POINTER, POINTER, INDEX, INDEX, POINTER)
    loop(addresses, sizes, count, torch.get_num_threads(), found.data_ptr())
    return found
