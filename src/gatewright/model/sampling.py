"""From logits to the next token."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.errors import UserError


class Sampler:
    """Draws next tokens: temperature, top-k (arXiv:1805.04833), top-p (arXiv:1904.09751); temperature 0 is greedy.

    Noise comes from the sampler's own generator, one row of Gumbel noise per sequence and step whether or not the
    sequence is finished, so that what one sequence draws does not depend on when another ends.
    """

    def __init__(
        self, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None, seed: int = 0
    ) -> None:
        if temperature < 0:
            raise UserError(f"temperature={temperature}: must not be negative")
        if top_k is not None and top_k < 1:
            raise UserError(f"top_k={top_k}: must be at least 1")
        if top_p is not None and not 0 < top_p <= 1:
            raise UserError(f"top_p={top_p}: must be in (0, 1]")
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, logits: Tensor) -> Tensor:
        """Next tokens ``(B,)`` for ``logits`` ``(B, V)``."""
        logits = logits.float()
        if self.temperature == 0:
            return logits.argmax(-1)
        logits = keep_nucleus(keep_top(logits / self.temperature, self.top_k), self.top_p)
        uniform = torch.rand(logits.shape, generator=self._generator).clamp(min=1e-20).to(logits.device)
        return (logits - torch.log(-torch.log(uniform))).argmax(-1)  # Gumbel-max: a draw from softmax(logits)


def keep_top(logits: Tensor, k: int | None) -> Tensor:
    """``logits`` ``(B, V)`` with all but the ``k`` largest of each row at −∞."""
    if k is None or k >= logits.shape[-1]:
        return logits
    smallest = logits.topk(k, dim=-1).values[:, -1:]
    return logits.masked_fill(logits < smallest, float("-inf"))


def keep_nucleus(logits: Tensor, p: float | None) -> Tensor:
    """``logits`` ``(B, V)`` with all at −∞ but the fewest tokens whose probabilities add up to ``p``; never none."""
    if p is None or p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True)
    probability = ordered.softmax(-1)
    beyond = probability.cumsum(-1) - probability >= p
    return logits.masked_fill(beyond.scatter(-1, order, beyond), float("-inf"))
