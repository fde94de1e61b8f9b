"""Kernels for eager mode: in Triton for CUDA, in C++ for a CPU. Each has a plain reference, which is used elsewhere.

Those in Triton import it, which comes with torch's CUDA builds alone: `usable` says whether to import them.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor


@cache
def _installed() -> bool:
    return find_spec("triton") is not None


def usable(x: Tensor) -> bool:
    """Whether kernels can work on ``x``. A compiler fuses on its own, and is left to it."""
    return x.is_cuda and _installed() and not torch.compiler.is_compiling()
