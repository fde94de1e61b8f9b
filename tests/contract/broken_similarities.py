"""Similarities that are broken in one way each, for the tests of their contract."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gatewright.parts.part import Cost, Dims
from gatewright.paths.similarities.base import Similarity


class Overlap(Similarity):
    """Overlap: the mass two distributions share; sound, and what the broken ones derive from."""

    def scores(self, signal: Tensor) -> Tensor:
        p = signal.exp()
        return torch.minimum(p[..., :, None, :], p[..., None, :, :]).sum(-1)


class Lopsided(Overlap):
    """Says it is symmetric and is not."""

    def scores(self, signal: Tensor) -> Tensor:
        return super().scores(signal) * (0.5 + 0.5 * signal.exp().square().sum(-1, keepdim=True))


class OutOfBounds(Overlap):
    """Says it stays within [0, 1] and does not."""

    def scores(self, signal: Tensor) -> Tensor:
        return 1.5 * super().scores(signal)


class ZeroTimesInfinity(Overlap):
    """An entropy that is NaN where a probability is 0."""

    def scores(self, signal: Tensor) -> Tensor:
        entropy = -(signal.exp() * signal).sum(-1)
        return super().scores(signal) * torch.exp(-(entropy[..., :, None] - entropy[..., None, :]).abs())


class FirstIsSpecial(Overlap):
    """The first path is heard less."""

    def scores(self, signal: Tensor) -> Tensor:
        weight = torch.ones(signal.shape[-2], dtype=signal.dtype)
        weight[0] = 0.5
        return super().scores(signal) * weight * weight[:, None]


class AcrossQuestions(Overlap):
    """Normalised by the largest value of the batch."""

    def scores(self, signal: Tensor) -> Tensor:
        s = super().scores(signal)
        outside = s.masked_fill(torch.eye(s.shape[-1], dtype=torch.bool), 0.0)
        return s / outside.amax().clamp(min=1e-3) / 1e3


class ZeroForTheDead(Overlap):
    """The score of who is not live is 0, as the paper has it, and not −∞."""

    def attention(self, similarity: Tensor, live: Tensor) -> Tensor:
        n = live.shape[-1]
        hidden = ~live[..., None, :] | torch.eye(n, dtype=torch.bool)
        return (similarity.masked_fill(hidden, 0.0) / self.temperature).softmax(-1) * live[..., None]


class MinusInfinityForAll(Overlap):
    """Softmax over nothing, multiplied by 0 afterwards."""

    def attention(self, similarity: Tensor, live: Tensor) -> Tensor:
        n = live.shape[-1]
        heard = live[..., None, :] & live[..., :, None] & ~torch.eye(n, dtype=torch.bool)
        a = (similarity.masked_fill(~heard, float("-inf")) / self.temperature).softmax(-1)
        return a * heard


class NaNBehindWhere(Overlap):
    """The result is clean, the gradient behind it NaN."""

    def attention(self, similarity: Tensor, live: Tensor) -> Tensor:
        return torch.where(
            live[..., None] & live[..., None, :], MinusInfinityForAll.attention(self, similarity, live), 0
        )


class RootOfZero(Overlap):
    """A root whose gradient is infinite where two rows are the same."""

    def scores(self, signal: Tensor) -> Tensor:
        return 1 - (1 - super().scores(signal)).clamp(min=0).sqrt()


class Narrow(Overlap):
    """Adds up in the type that comes in."""

    def compare(self, signal: Tensor) -> Tensor:
        return self.scores(signal).float()

    def signal(self, log_probs: Tensor, table: Tensor | None = None) -> Tensor:
        return log_probs


class Autocasting(Overlap):
    """A product that autocast narrows."""

    def compare(self, signal: Tensor) -> Tensor:
        p = signal.exp()
        return (p @ p.mT).to(signal.dtype)


class Leaking(Overlap):
    """Sends gradients into the distributions."""

    def similarity(self, log_probs: Tensor, **others: Any) -> Tensor:
        return self(log_probs, **others)


class Drawing(Overlap):
    """Takes its lots from the global random state."""

    def scores(self, signal: Tensor) -> Tensor:
        return super().scores(signal) * torch.rand(())


class Biased(Overlap):
    """Learnable, and prefers somebody from the start."""

    symmetric = False
    bounds = None

    def __init__(self, dims: Dims, *, temperature: float = 0.1) -> None:
        super().__init__(dims, temperature=temperature)
        self.layer = nn.Linear(dims.vocab_size, dims.vocab_size, bias=False)

    def scores(self, signal: Tensor) -> Tensor:
        return F.linear(signal.exp(), self.layer.weight.to(signal.dtype)) @ signal.exp().mT

    def cost(self, tokens: int) -> Cost:
        v = self.layer.in_features
        return Cost(v * v, 2 * tokens * v * v + 2 * tokens * tokens * v)


class Deaf(Biased):
    """Has a parameter that no gradient reaches."""

    def __init__(self, dims: Dims, *, temperature: float = 0.1) -> None:
        super().__init__(dims, temperature=temperature)
        self.unused = nn.Linear(1, 1, bias=False)
