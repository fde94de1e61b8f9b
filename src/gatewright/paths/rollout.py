"""What is kept of paths that were generated: enough to put every input together again, and no more."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from gatewright.paths.text import text_of

Blend = Literal["embeddings", "logits"]


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
    blend: Blend = "embeddings"
    """What was blended. With ``logits`` a path listens *before* it draws: attention and blend weights of step t belong
    to the distribution that y^t is drawn from, among the paths that had not left thinking by then."""

    @property
    def live(self) -> Tensor:
        """``(B, N, T)``: which paths could hear and be heard, at each step."""
        if self.blend == "embeddings":
            return self.thinking
        return torch.cat((torch.ones_like(self.thinking[..., :1]), self.thinking[..., :-1]), dim=-1)

    @property
    def mask(self) -> Tensor:
        """``(B, N, T)``: which tokens were drawn, the last one included."""
        return torch.arange(self.tokens.shape[-1], device=self.tokens.device) < self.lengths[..., None]

    @property
    def listened(self) -> Tensor:
        """``(B, N, T)``: whether the path heard somebody after (``blend=logits``: before) it had drawn this token."""
        return self.blend_weights > 0

    def texts(self, tokenizer: Any) -> list[list[str]]:
        """What each path of each question wrote."""
        text = text_of(tokenizer)
        pairs = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [[text.decode(path[:n]) for path, n in zip(paths, lengths, strict=True)] for paths, lengths in pairs]

    def trimmed(self) -> Rollout:
        """The same without the steps and the padding that nobody needs any more, after `select`."""
        start = int((~self.prompt_mask.any(0)).sum())
        end = max(1, int(self.lengths.max()))
        among = self.steps < end
        return dataclasses.replace(
            self,
            prompt_ids=self.prompt_ids[:, start:],
            prompt_mask=self.prompt_mask[:, start:],
            tokens=self.tokens[..., :end],
            log_probs=self.log_probs[..., :end],
            thinking=self.thinking[..., :end],
            blend_weights=self.blend_weights[..., :end],
            steps=self.steps[among],
            attention=self.attention[among],
            signals=None if self.signals is None else self.signals[among],
        )

    def select(self, questions: Tensor | slice) -> Rollout:
        """Some of the questions, such as those of a micro-batch."""
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, value in kept.items():
            if name in ("attention", "signals"):
                kept[name] = None if value is None else value[:, questions]
            elif name not in ("steps", "blend"):
                kept[name] = value[questions]
        return Rollout(**kept)
