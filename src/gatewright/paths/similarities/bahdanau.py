"""Bahdanau's attention."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gatewright.errors import UserError
from gatewright.parts.part import Cost, Dims, linear_cost
from gatewright.paths.similarities.vectors import LearnableSimilarity, Space, ZeroLinear
from gatewright.registry import register


@register("similarity", "bahdanau")
class Bahdanau(LearnableSimilarity):
    """Bahdanau: ``S_ij = vᵀ tanh(W₁ x_i + W₂ x_j)`` of width ``hidden`` (Bahdanau et al., 2015, arXiv:1409.0473).

    v starts at 0, so attention starts as peer mean.
    """

    def __init__(self, dims: Dims, *, temperature: float = 0.1, space: Space = "embeddings", hidden: int = 256) -> None:
        super().__init__(dims, temperature=temperature, space=space)
        if hidden < 1:
            raise UserError(f"similarity 'bahdanau'.hidden={hidden}: must be at least 1")
        self.query = nn.Linear(self.width, hidden, bias=False)
        self.key = nn.Linear(self.width, hidden, bias=False)
        self.score = ZeroLinear(hidden, 1, bias=False)

    def scores(self, signal: Tensor) -> Tensor:
        query, key, score = (layer.weight.to(signal.dtype) for layer in (self.query, self.key, self.score))
        own, other = F.linear(signal, query), F.linear(signal, key)
        return F.linear((own[..., :, None, :] + other[..., None, :, :]).tanh(), score).squeeze(-1)

    def cost(self, tokens: int) -> Cost:
        layers = linear_cost(self.query, tokens) + linear_cost(self.key, tokens)
        return Cost(flops=self.signal_flops(tokens)) + layers + linear_cost(self.score, tokens * tokens)
