"""Generation, with or without a cache of keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F

from gatewright.errors import UserError
from gatewright.model.language_model import LanguageModel
from gatewright.model.packed import generation_precision, in_bf16
from gatewright.model.sampling import Sampler

if TYPE_CHECKING:
    from gatewright.pretrained.model import PretrainedModel

Precision = Literal["auto", "float32", "bf16"]


@torch.no_grad()
def generate(
    model: LanguageModel | PretrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    sampler: Sampler | None = None,
    end_id: int | None = None,
    use_cache: bool = True,
    on_token: Callable[[list[int | None]], None] | None = None,
    precision: Precision = "float32",
) -> list[list[int]]:
    """Continue each prompt; returns the new tokens of each, without the prompt and without ``end_id``.

    Prompts of different lengths are padded on the left and masked. A sequence ends at ``end_id`` or after
    ``max_new_tokens``; generation stops when all have ended. ``sampler`` is greedy if left out. ``on_token`` is called
    after each step with the new token of every sequence (None where it has ended). ``precision="bf16"`` is
    faster for a large model where hardware computes in it, and may choose other words; ``auto`` does it there.
    Raises `UserError` for an empty prompt or one that leaves no room within ``block_size``.
    """
    if not prompts or not all(len(prompt) for prompt in prompts):
        raise UserError("the prompt is empty")
    longest = max(map(len, prompts))
    if longest + max_new_tokens > model.block_size:
        raise UserError(
            f"a prompt of {longest} tokens and {max_new_tokens} new ones exceed model.block_size={model.block_size}"
        )
    device = model.embedding.weight.device
    ids = torch.stack([F.pad(torch.tensor(list(p)), (longest - len(p), 0)) for p in prompts]).to(device)
    lengths = torch.tensor([len(p) for p in prompts], device=device)
    mask = torch.arange(longest, device=device)[None] >= (longest - lengths)[:, None]
    sampler = sampler or Sampler(temperature=0)
    cache = model.new_cache(longest + max_new_tokens) if use_cache else None
    continuations: list[list[int]] = [[] for _ in prompts]
    live = [True] * len(prompts)
    with ExitStack() as stack:
        stack.callback(model.train, model.training)
        model.eval()
        if generation_precision(precision, model) == "bf16":
            stack.enter_context(in_bf16(model))
        fresh = ids
        for _ in range(max_new_tokens):
            logits = model(fresh, attention_mask=mask, cache=cache).logits[:, -1]
            chosen = sampler(logits)
            ids = torch.cat((ids, chosen[:, None]), dim=1)
            mask = F.pad(mask, (0, 1), value=True)
            fresh = chosen[:, None] if cache is not None else ids
            tokens = chosen.tolist()
            for row, token in enumerate(tokens):
                live[row] = live[row] and token != end_id
                if live[row]:
                    continuations[row].append(token)
            if on_token is not None:
                on_token([token if alive else None for token, alive in zip(tokens, live, strict=True)])
            if not any(live):
                break
    return continuations
