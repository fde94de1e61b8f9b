"""Telling models that predict text from left to right from those that look ahead."""

from __future__ import annotations

from typing import Any

import torch


@torch.no_grad()
def is_causal(model: Any) -> bool:
    """Whether a later token changes nothing about what ``model`` says of earlier ones, as it does in encoders.

    Some of these transformers opens as language models too. Training mode is restored.
    """
    was_training = model.training
    ids = torch.zeros(2, 8, dtype=torch.long)
    ids[1, -1] = 1
    first, second = model.eval()(input_ids=ids, use_cache=False).logits[:, :-1]
    model.train(was_training)
    slack = 1e-4 if first.dtype == torch.float32 else 2e-2
    return bool((first - second).abs().max() <= slack * first.abs().max())
