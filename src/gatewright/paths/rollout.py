"""What is kept of paths that were generated: enough to put every input together again, and no more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gatewright.paths.text import text_of


@dataclass(frozen=True)
class Rollout:
    """N paths of each of B questions, over T steps. Step t: token y^t is drawn; then the path may listen.

    Prompts are padded on the left to P tokens. Inputs are not kept: `gatewright.paths.rebuild_inputs` makes them of
    tokens, attention and blend weights, in this precision to within rounding.
    """

    prompt_ids: Tensor
    """``(B, P)``."""
    prompt_mask: Tensor
    """``(B, P)``: false for padding."""
    tokens: Tensor
    """``(B, N, T)``; the token that ends a path is among them, and what follows it is 0."""
    lengths: Tensor
    """``(B, N)``: tokens drawn."""
    ended: Tensor
    """``(B, N)``: whether the path ended by itself, and not at the limit of tokens."""
    log_probs: Tensor
    """``(B, N, T)`` in float32, of the drawn tokens in the context they were drawn in, listening included. Those of the
    model's distribution: before sampling temperature and top-p. 0 after the end."""
    thinking: Tensor
    """``(B, N, T)``: whether the path is still thinking after it has drawn this token."""
    blend_weights: Tensor
    """``(B, N, T)`` in float32: the λ with which h^t was blended; 0 where the path heard nobody."""
    steps: Tensor
    """``(S,)``: the steps at which anybody listened, in order."""
    attention: Tensor
    """``(S, B, N, N)`` at those steps, in the precision it was computed in (float32): half precision would move inputs
    by more than recomputed log-probabilities may differ."""
    signals: Tensor | None = None
    """``(S, B, N, F)``: what a learnable similarity compared at those steps, if it was to be kept."""

    @property
    def mask(self) -> Tensor:
        """``(B, N, T)``: which tokens were drawn, the last one included."""
        return torch.arange(self.tokens.shape[-1], device=self.tokens.device) < self.lengths[..., None]

    @property
    def listened(self) -> Tensor:
        """``(B, N, T)``: whether the path heard somebody after it had drawn this token."""
        return self.blend_weights > 0

    def texts(self, tokenizer: Any) -> list[list[str]]:
        """What each path of each question wrote."""
        text = text_of(tokenizer)
        pairs = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [[text.decode(path[:n]) for path, n in zip(paths, lengths, strict=True)] for paths, lengths in pairs]

    def select(self, questions: Tensor | slice) -> Rollout:
        """Some of the questions, such as those of a micro-batch."""
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in kept.items():
            if name in ("attention", "signals"):
                kept[name] = None if value is None else value[:, questions]
            elif name != "steps":
                kept[name] = value[questions]
        return Rollout(**kept)
