"""Luong's attention, of low rank."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from gatewright.errors import UserError
from gatewright.parts.part import Cost, Dims, linear_cost
from gatewright.paths.similarities.vectors import LearnableSimilarity, Space, ZeroLinear
from gatewright.registry import register


@register("similarity", "luong")
class Luong(LearnableSimilarity):
    """Luong: ``S_ij = x_iᵀ W x_j`` with ``W = U Vᵀ`` of rank ``rank`` (Luong et al., 2015, arXiv:1508.04025).

    V starts at 0, so attention starts as peer mean. On embeddings of width 1,536 rank 128 is 0.4 M parameters; on a
    vocabulary of 152k it would be 38.9 M, and a full W 23 G.
    """

    def __init__(self, dims: Dims, *, temperature: float = 0.1, space: Space = "embeddings", rank: int = 128) -> None:
        super().__init__(dims, temperature=temperature, space=space)
        if rank < 1:
            raise UserError(f"similarity 'luong'.rank={rank}: must be at least 1")
        self.query = nn.Linear(self.width, rank, bias=False)
        self.key = ZeroLinear(self.width, rank, bias=False)

    def scores(self, signal: Tensor) -> Tensor:
        query = F.linear(signal, self.query.weight.to(signal.dtype))
        key = F.linear(signal, self.key.weight.to(signal.dtype))
        return query @ key.mT

    def reference(self, log_probs: Tensor, *, table: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """The same with W written out."""
        x = self.signal(log_probs, table)
        return x @ (self.query.weight.T @ self.key.weight).to(x.dtype) @ x.mT

    def cost(self, tokens: int) -> Cost:
        rank = self.query.out_features
        products = Cost(flops=self.signal_flops(tokens) + 2 * tokens * tokens * rank)
        return products + linear_cost(self.query, tokens) + linear_cost(self.key, tokens)
