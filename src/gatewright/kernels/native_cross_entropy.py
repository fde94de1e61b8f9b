"""The cross-entropy of logits and its gradient on a CPU in one go, by the loop of ``cross_entropy.cpp``."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.kernels.native import INDEX, POINTER, SWITCH, native, native_function

NAMES = {torch.float32: "cross_entropy_float32", torch.bfloat16: "cross_entropy_bfloat16"}


def native_usable(logits: Tensor) -> bool:
    """Whether the loop can work on ``logits``."""
    return logits.device.type == "cpu" and logits.dtype in NAMES and native("cross_entropy") is not None


def native_cross_entropy(logits: Tensor, targets: Tensor, ignored: int, learns: bool) -> Tensor:
    """``(N, V)`` and ``(N,)`` to the losses ``(N,)`` in float32, 0 where the target is ``ignored``.

    With ``learns`` the logits become the gradient of the losses' sum, softmax − one-hot, in place. Raises `ValueError`
    for logits that do not lie one after another, `IndexError` for a target outside the vocabulary.
    """
    rows, vocabulary = logits.shape
    if not logits.is_contiguous():
        raise ValueError("logits have to be contiguous")
    if (((targets < 0) | (targets >= vocabulary)) & (targets != ignored)).any():
        raise IndexError(f"a target is outside the vocabulary of {vocabulary}")
    targets, losses = targets.contiguous(), torch.empty(rows)
    threads = torch.get_num_threads()
    addresses = logits.data_ptr(), targets.data_ptr()
    types = POINTER, POINTER, INDEX, INDEX, INDEX, SWITCH, INDEX, POINTER
    loop = native_function("cross_entropy", NAMES[logits.dtype], *types)
    loop(*addresses, rows, vocabulary, ignored, learns, threads, losses.data_ptr())
    return losses
