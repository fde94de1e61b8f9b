"""A language model without its head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gatewright.model.block import Block
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.attention.cache import KVCache
from gatewright.parts.norms.base import Norm
from gatewright.parts.positions.base import Position, Span


class Trunk(nn.Module):
    """From tokens to what the head reads: embedding, positions, blocks, final norm.

    A subclass sets the attributes; there are two, our own model and its counterpart for transformers.
    """

    embedding: nn.Embedding
    embedding_dropout: nn.Dropout
    embedding_scale: float
    positions: Sequence[Position]
    position_of_layer: list[int]
    blocks: Sequence[Block]
    norm: Norm | None
    block_size: int

    def hidden_states(
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        inputs_embeds: Tensor | None = None,
        documents: Tensor | None = None,
    ) -> Tensor:
        """What the head reads, ``(B, T, D)``; the arguments are those of `LanguageModel.forward`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        x = self.embed(input_ids) if input_ids is not None else inputs_embeds
        assert x is not None
        span = self._span(x, attention_mask, positions, cache, documents)
        for position in self.positions:
            added = position.embed(span)
            x = x if added is None else x + added
        x = self.embedding_dropout(x)
        places = [position(span) for position in self.positions]
        for layer, block in enumerate(self.blocks):
            x = block(x, span, places[self.position_of_layer[layer]], cache.layers[layer] if cache else None)
        return x if self.norm is None else self.norm(x)

    def embed(self, input_ids: Tensor) -> Tensor:
        """Token embeddings ``(B, T, D)``, without positions."""
        return (
            self.embedding(input_ids) * self.embedding_scale if self.embedding_scale != 1 else self.embedding(input_ids)
        )

    def alphas(self) -> dict[str, float]:
        """The present α of each layer that has one, averaged where a layer has many."""
        means = {}
        for layer, block in enumerate(self.blocks):
            found = [module.mean().float() for module in block.modules() if isinstance(module, Alpha)]
            if found:
                means[str(layer)] = torch.stack(found).mean()
        return dict(zip(means, torch.stack(list(means.values())).tolist(), strict=True)) if means else {}

    def set_step(self, step: int, max_steps: int) -> None:
        """Tell scheduled α's which optimizer step comes next."""
        for module in self.modules():
            if isinstance(module, Alpha):
                module.set_step(step, max_steps)

    def reports(self) -> dict[str, float]:
        """Numbers that parts report about the last training batch, such as ``0.expert_utilisation``."""
        return {
            f"{layer}.{key}": value
            for layer, block in enumerate(self.blocks)
            for key, value in block.feedforward.report().items()
        }

    def aux_loss(self) -> Tensor | None:
        """What parts add to the loss of the last training batch, such as a mixture's load balance; None without any."""
        losses = [block.feedforward.aux_loss for block in self.blocks]
        found = [loss for loss in losses if loss is not None]
        return torch.stack(found).sum() if found else None

    def _span(
        self,
        x: Tensor,
        mask: Tensor | None,
        positions: Tensor | None,
        cache: KVCache | None,
        documents: Tensor | None,
    ) -> Span:
        start, tokens = cache.length if cache else 0, x.shape[1]
        if start + tokens > self.block_size:
            raise ValueError(f"{start + tokens} tokens are more than model.block_size={self.block_size}")
        same = None
        if documents is not None:
            if cache is not None or mask is not None:
                raise ValueError("documents are for packed text: neither padded nor with a cache")
            same = documents[:, None, :, None] == documents[:, None, None, :]
            positions = _within(documents) if positions is None else positions
        if positions is None and mask is not None:
            positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -tokens:]
        elif positions is None:
            positions = torch.arange(start, start + tokens, device=x.device)[None]
        return Span(positions, start, None if mask is None else mask.bool(), same)


def _within(documents: Tensor) -> Tensor:
    """The place of each token in its document, from the documents' numbers, ``(B, T)`` both."""
    places = torch.arange(documents.shape[1], device=documents.device)
    begins = torch.where(documents[:, 1:] != documents[:, :-1], places[1:], 0).cummax(-1).values
    return places - torch.nn.functional.pad(begins, (1, 0))
