"""The fixed batches that a model is evaluated on."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data.token_array import TokenArray
from gatewright.errors import UserError

IGNORED = -100
"""The label of a position that is not a target."""


def evaluation_batches(
    tokens: TokenArray | NDArray[Any], block_size: int, batch_size: int, max_tokens: int | None = None
) -> list[tuple[Tensor, Tensor]]:
    """The first ``min(max_tokens, N - 1)`` targets of ``tokens``, in order, in windows of T that lie side by side.

    Returns ``(input_ids, labels)`` pairs, ``(B, T)`` int64. The targets are tokens 1, 2, … of the split, each scored
    once, and are the same ones for every block and batch size. All batches have one shape, so that a compiled model is
    compiled once: what is left of the last window, and of the last batch, has label -100 (and input 0), which is no
    target. Weigh batches by their targets when averaging.

    Raises `UserError` for fewer than two tokens and for sizes below 1.
    """
    array = tokens if isinstance(tokens, TokenArray) else np.asarray(tokens)
    label = tokens.label if isinstance(tokens, TokenArray) else "the validation tokens"
    for name, value in (("block_size", block_size), ("batch_size", batch_size), ("eval_tokens", max_tokens)):
        if value is not None and value < 1:
            raise UserError(f"{name}={value}: must be at least 1")
    if len(array) < 2:
        raise UserError(f"{label}: {len(array)} tokens are too few to predict one from another")
    targets = len(array) - 1 if max_tokens is None else min(max_tokens, len(array) - 1)
    per_batch = batch_size * block_size
    batches = []
    for start in range(0, targets, per_batch):
        stop = min(start + per_batch, targets)
        input_ids = np.zeros(per_batch, dtype=np.int64)
        labels = np.full(per_batch, IGNORED, dtype=np.int64)
        input_ids[: stop - start] = array[start:stop]
        labels[: stop - start] = array[start + 1 : stop + 1]
        shape = (batch_size, block_size)
        batches.append((torch.from_numpy(input_ids.reshape(shape)), torch.from_numpy(labels.reshape(shape))))
    return batches
