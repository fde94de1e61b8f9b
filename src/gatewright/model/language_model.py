"""The language model: embedding, blocks, head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from gatewright.config.model import ModelConfig
from gatewright.model.block import Block
from gatewright.model.initialise import initialise
from gatewright.model.linear_cross_entropy import IGNORED, LARGE, cross_entropy, linear_cross_entropy
from gatewright.model.trunk import Trunk
from gatewright.parts.attention.cache import KVCache
from gatewright.parts.inits.base import Init
from gatewright.parts.norms.base import Norm
from gatewright.parts.positions.base import Position


@dataclass
class Output:
    """What a forward pass gives. ``loss`` is ``cross_entropy`` plus ``aux_loss``, where there are targets.

    ``logits`` are empty where they were not to be kept and the loss could do without.
    """

    logits: Tensor
    loss: Tensor | None = None
    cross_entropy: Tensor | None = None
    aux_loss: Tensor | None = None


class LanguageModel(Trunk):
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
        documents: Tensor | None = None,
        reduction: Literal["mean", "sum"] = "mean",
        keep_logits: bool = True,
    ) -> Output:
        """Logits ``(B, T, V)`` for ``input_ids`` ``(B, T)``, and the loss where there is something to predict.

        - ``labels`` ``(B, T)``: the tokens themselves, as in Hugging Face: position t is scored against token t + 1.
        - ``targets`` ``(B, T)``: what each position should predict, shifted already. Entries of −100 are not scored.
        - ``attention_mask`` ``(B, S)``: 0 for padding, over the cached tokens and these.
        - ``positions`` ``(B, T)``: places in the text; counted from the mask if left out.
        - ``cache``: keys and values of earlier tokens; this call adds its own.
        - ``inputs_embeds`` ``(B, T, D)``: in place of ``input_ids``, as `embed` gives them.
        - ``documents`` ``(B, T)``: for each token the number of its document, where several are packed into a row, one
          after another. Tokens see their own alone, whose positions begin at 0: its logits are those it has by itself.
        - ``reduction``: of the cross-entropy over scored positions.
        - ``keep_logits``: with targets false will do, and then large logits never stand in memory at once.
        """
        x = self.hidden_states(
            input_ids,
            attention_mask=attention_mask,
            positions=positions,
            cache=cache,
            inputs_embeds=inputs_embeds,
            documents=documents,
        )
        if labels is not None:
            if targets is not None:
                raise ValueError("give either labels or targets")
            targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED)
        if targets is None:
            return Output(self.logits(x))
        head = self.embedding if self.head is None else self.head
        if keep_logits or targets.numel() * len(head.weight) < LARGE:
            logits = self.logits(x)
            entropy = cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction)
        else:
            logits = x.new_empty(0)
            bias = None if self.head is None else self.head.bias
            entropy = linear_cross_entropy(x.flatten(0, 1), head.weight, bias, targets.flatten(), reduction)
        aux = self.aux_loss()
        return Output(logits, entropy if aux is None else entropy + aux, entropy, aux)

    def logits(self, hidden: Tensor) -> Tensor:
        """The head alone: logits ``(…, V)`` of any part of `hidden_states`, ``(…, D)``."""
        return F.linear(hidden, self.embedding.weight) if self.head is None else self.head(hidden)

    def new_cache(self, capacity: int | None = None) -> KVCache:
        """An empty cache for one generation of at most ``capacity`` tokens (``block_size`` if left out)."""
        return KVCache(len(self.blocks), min(capacity or self.block_size, self.block_size))
