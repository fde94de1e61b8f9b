"""One step of listening: from next-token distributions and drawn tokens to next inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.paths.adaptive import AdaptiveWeight
from gatewright.paths.attention import listeners, token_entropy
from gatewright.paths.blending import blend, blend_logits
from gatewright.paths.make import make_similarity
from gatewright.paths.policies import Policy
from gatewright.paths.rollout import Blend
from gatewright.paths.similarities.base import Similarity
from gatewright.paths.similarities.none import NoSimilarity
from gatewright.paths.similarities.vectors import VectorSimilarity


@dataclass(frozen=True)
class Heard:
    """What came of one step, for b questions."""

    similarity: Tensor
    """``(b, N, N)``."""
    attention: Tensor
    """``(b, N, N)``."""
    weights: Tensor
    """``(b, N)`` in float32: λ, and 0 for paths that hear nobody."""
    blended: Tensor
    """``(b, N, D)``: h; or logits, ``(b, N, V)``."""
    signal: Tensor | None
    """``(b, N, F)``: what was compared, if it was to be kept."""


class Gate:
    """A similarity and a blend weight at work on the paths of a model."""

    def __init__(
        self,
        policy: Policy,
        similarity: Similarity,
        blend_weight: float | AdaptiveWeight,
        *,
        keep_signals: bool,
        blends: Blend,
    ) -> None:
        self.blend = blend if blends == "embeddings" else blend_logits
        self.similarity, self.blend_weight, self.keep_signals = similarity, blend_weight, keep_signals
        self.table: Tensor | None = None
        if isinstance(similarity, VectorSimilarity) and similarity.space == "embeddings":
            table = policy.embed(torch.arange(policy.vocab_size, device=policy.device)).float()
            self.table = table.mT.contiguous().mT

    def __call__(self, log_probs: Tensor, own: Tensor, live: Tensor, keys: Tensor) -> Heard:
        """Listen once: ``(b, N, V)``, ``(b, N, D)`` or ``(b, N, V)`` (what is blended), ``(b, N)`` and ``(b, N)``."""
        signal = None
        if self.keep_signals:
            signal = self.similarity.signal(log_probs, self.table)
            similarity = self.similarity.compare(signal)
        else:
            similarity = self.similarity.similarity(log_probs, table=self.table, keys=keys)
        attention = self.similarity.attention(similarity, live)
        weights = self._weights(log_probs, live)
        weights = weights.masked_fill(~(live & listeners(attention)), 0.0)
        return Heard(similarity, attention, weights, self.blend(own, attention, live, weights), signal)

    def _weights(self, log_probs: Tensor, live: Tensor) -> Tensor:
        if not isinstance(self.blend_weight, AdaptiveWeight):
            return torch.full(live.shape, self.blend_weight, dtype=torch.float32, device=live.device)
        entropy = token_entropy(log_probs)
        weights: Tensor = self.blend_weight(entropy)
        self.blend_weight.observe(entropy, live)
        return weights


def make_gate(
    policy: Policy,
    similarity: str | Similarity,
    blend_weight: float | AdaptiveWeight,
    *,
    keep_signals: bool = False,
    blends: Blend = "embeddings",
) -> Gate | None:
    """The gate, or None if nobody will ever hear anybody: similarity `none`, or λ = 0.

    A name makes a similarity at its usual temperature, as `make_similarity` does. Raises `UserError` for a blend weight
    outside [0, 1], and if signals are to be kept of a similarity with nothing to learn.
    """
    if not isinstance(blend_weight, nn.Module) and not 0 <= blend_weight <= 1:
        raise UserError(f"blend_weight={blend_weight}: must be in [0, 1]")
    similarity = _made(policy, similarity)
    if keep_signals and not any(True for _ in similarity.parameters()):
        raise UserError("keep_signals: this similarity has nothing to learn, so nothing will be compared again")
    if isinstance(similarity, NoSimilarity) or blend_weight == 0:
        return None
    return Gate(policy, similarity, blend_weight, keep_signals=keep_signals, blends=blends)


def make_probe(policy: Policy, similarity: str | Similarity) -> Gate | None:
    """A gate through which nobody hears anything: for the statistics of its attention. None for `none`."""
    similarity = _made(policy, similarity)
    silent = isinstance(similarity, NoSimilarity)
    return None if silent else Gate(policy, similarity, 0.0, keep_signals=False, blends="embeddings")


def _made(policy: Policy, similarity: str | Similarity) -> Similarity:
    if isinstance(similarity, Similarity):
        return similarity
    return make_similarity(similarity, n_embd=policy.width, vocab_size=policy.vocab_size, device=policy.device)
