"""The language model: embedding, blocks, head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewright.config.model import ModelConfig
from gatewright.model.block import Block
from gatewright.model.initialise import initialise
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.attention.cache import KVCache
from gatewright.parts.inits.base import Init
from gatewright.parts.norms.base import Norm
from gatewright.parts.positions.base import Position, Span

IGNORED = -100
"""The target that is not scored, as in `torch.nn.functional.cross_entropy`."""


@dataclass
class Output:
    """What a forward pass gives. ``loss`` is ``cross_entropy`` plus ``aux_loss``, where there are targets."""

    logits: Tensor
    loss: Tensor | None = None
    cross_entropy: Tensor | None = None
    aux_loss: Tensor | None = None


class LanguageModel(nn.Module):
    """A decoder-only transformer; `gatewright.build` puts one together from a `ModelConfig`."""

    config: ModelConfig
    """What `gatewright.build` made it from."""

    def __init__(
        self,
        *,
        embedding: nn.Embedding,
        positions: Sequence[Position],
        position_of_layer: Sequence[int],
        blocks: Sequence[Block],
        norm: Norm | None,
        head: nn.Linear | None,
        init: Init,
        block_size: int,
        embedding_scale: float = 1.0,
        embedding_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.embedding_scale = embedding_scale
        self.positions: Sequence[Position] = nn.ModuleList(positions)  # type: ignore[assignment]
        self.position_of_layer = list(position_of_layer)
        self.blocks: Sequence[Block] = nn.ModuleList(blocks)  # type: ignore[assignment]
        self.norm = norm
        self.head = head
        self.init = init
        self.block_size = block_size

    def initialise(self, seed: int) -> None:
        """Draw all weights anew, each from a generator of its own: models that share parts share their start."""
        initialise(self, self.init, seed)

    def forward(
        self,
        input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        targets: Tensor | None = None,
        attention_mask: Tensor | None = None,
        positions: Tensor | None = None,
        cache: KVCache | None = None,
        inputs_embeds: Tensor | None = None,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> Output:
        """Logits ``(B, T, V)`` for ``input_ids`` ``(B, T)``, and the loss where there is something to predict.

        - ``labels`` ``(B, T)``: the tokens themselves, as in Hugging Face: position t is scored against token t + 1.
        - ``targets`` ``(B, T)``: what each position should predict, shifted already. Entries of −100 are not scored.
        - ``attention_mask`` ``(B, S)``: 0 for padding, over the cached tokens and these.
        - ``positions`` ``(B, T)``: places in the text; counted from the mask if left out.
        - ``cache``: keys and values of earlier tokens; this call adds its own.
        - ``inputs_embeds`` ``(B, T, D)``: in place of ``input_ids``, as `embed` gives them.
        - ``reduction``: of the cross-entropy over scored positions.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give either input_ids or inputs_embeds")
        x = self.embed(input_ids) if input_ids is not None else inputs_embeds
        assert x is not None
        span = self._span(x, attention_mask, positions, cache)
        for position in self.positions:
            added = position.embed(span)
            x = x if added is None else x + added
        x = self.embedding_dropout(x)
        places = [position(span) for position in self.positions]
        for layer, block in enumerate(self.blocks):
            x = block(x, span, places[self.position_of_layer[layer]], cache.layers[layer] if cache else None)
        if self.norm is not None:
            x = self.norm(x)
        logits = F.linear(x, self.embedding.weight) if self.head is None else self.head(x)
        if labels is not None:
            if targets is not None:
                raise ValueError("give either labels or targets")
            targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
        if targets is None:
            return Output(logits)
        wide = logits.flatten(0, 1).to(torch.promote_types(logits.dtype, torch.float32))
        entropy = F.cross_entropy(wide, targets.flatten(), ignore_index=IGNORED, reduction=reduction)
        aux = self._aux_loss()
        return Output(logits, entropy if aux is None else entropy + aux, entropy, aux)

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

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """An empty cache for one generation of at most ``capacity`` tokens (``block_size`` if left out)."""
        return KVCache(len(self.blocks), min(capacity or self.block_size, self.block_size))

    def _span(self, x: Tensor, mask: Tensor | None, positions: Tensor | None, cache: KVCache | None) -> Span:
        start, tokens = cache.length if cache else 0, x.shape[1]
        if start + tokens > self.block_size:
            raise ValueError(f"{start + tokens} tokens are more than model.block_size={self.block_size}")
        if positions is None and mask is not None:
            positions = (mask.long().cumsum(-1) - 1).clamp(min=0)[:, -tokens:]
        elif positions is None:
            positions = torch.arange(start, start + tokens, device=x.device)[None]
        return Span(positions, start, None if mask is None else mask.bool())

    def _aux_loss(self) -> Tensor | None:
        losses = [block.feedforward.aux_loss for block in self.blocks]
        found = [loss for loss in losses if loss is not None]
        return torch.stack(found).sum() if found else None
