"""Random numbers that belong to a place and not to a stream: the same whatever else is in the batch."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

_STEP, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15


def draw_keys(seed: int, *coordinates: int | Tensor) -> Tensor:
    """A 64-bit key for each place, such as ``draw_keys(seed, question, path, step)``; integers that broadcast.

    ``draw_keys(0, questions[:, None], torch.arange(N), step)`` is ``(B, N)``. Keys of different places are as good as
    independent (splitmix64; Steele et al., 2014, doi:10.1145/2660193.2660195), on every device the same.
    """
    device = next((c.device for c in coordinates if isinstance(c, Tensor)), None)
    places = [torch.as_tensor(c, dtype=torch.int64, device=device) for c in coordinates]
    start = torch.as_tensor(seed, dtype=torch.int64, device=device)
    return reduce(lambda key, place: _mix(key ^ place), places, _mix(start))


def uniform(keys: Tensor) -> Tensor:
    """One float32 in [0, 1) for each key, a multiple of 2⁻²⁴."""
    return _shift(_mix(keys), 40).float() * 2.0**-24


def _mix(x: Tensor) -> Tensor:
    """The output of splitmix64 at state ``x``; int64 products wrap around, as they have to."""
    x = x + _STEP
    x = (x ^ _shift(x, 30)) * _FIRST
    x = (x ^ _shift(x, 27)) * _SECOND
    return x ^ _shift(x, 31)


def _shift(x: Tensor, bits: int) -> Tensor:
    """A logical shift to the right; that of int64 is arithmetic."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
