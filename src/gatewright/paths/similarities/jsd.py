"""The Jensen–Shannon divergence, as a similarity."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gatewright.kernels import usable
from gatewright.kernels.native_negentropy import native_mean_negentropy, native_usable
from gatewright.paths.similarities.base import Similarity
from gatewright.registry import register

TILE = 4096
"""Tokens whose terms are added up at a time, in the precision of the input."""
CACHED = 2**16
"""Numbers worked on at a time on a CPU, so that they stay in the cache; elsewhere it is memory that sets the limit."""


@register("similarity", "jsd", "kl_divergence")
class JensenShannon(Similarity):
    """Jensen–Shannon: ``S_ij = 1 − √JSD(p_i, p_j)``, the divergence in bits (Lin, 1991, doi:10.1109/18.61115).

    In [0, 1]; √JSD is a metric. With ``h(i, j) = Σ m ln m``, m the mean of the two distributions, ``JSD = [(h(i, i) +
    h(j, j)) / 2 − h(i, j)] / ln 2``: one logarithm for each pair and token. For identical rows h(i, j) and h(i, i) are
    sums of the same numbers in the same order. Their JSD is 0 and not a rounding error, whose root would show; S is
    exactly 1 there, and has a gradient of 0.
    """

    def scores(self, signal: Tensor) -> Tensor:
        h = _mean_negentropy(signal)
        own = h.diagonal(dim1=-2, dim2=-1)
        bits = (0.5 * (own[..., :, None] + own[..., None, :]) - h) / math.log(2)
        return _one_minus_root(bits.clamp(0.0, 1.0).to(signal.dtype))

    def reference(self, log_probs: Tensor, *, table: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """The same from the definition: the mean of both divergences from the mean distribution."""
        log_p = self.signal(log_probs)
        p, q = log_p[..., :, None, :].exp(), log_p[..., None, :, :].exp()
        mean = 0.5 * (p + q)
        bits = 0.5 * (torch.xlogy(p, p / mean) + torch.xlogy(q, q / mean)).sum(-1) / math.log(2)
        return _one_minus_root(bits.clamp(0.0, 1.0))


def _mean_negentropy(log_p: Tensor) -> Tensor:
    """``Σ m ln m``, m the mean of two rows: ``(..., N, V)`` to ``(..., N, N)``, for i ≤ j and then mirrored.

    By a kernel where there is one; else by tiles, which can also be differentiated.
    """
    *leading, n, vocabulary = log_p.shape
    groups = log_p.reshape(-1, n, vocabulary)
    if usable(log_p) and log_p.dtype == torch.float32:
        from gatewright.kernels.negentropy import MeanNegentropy

        found: Tensor = MeanNegentropy.apply(groups)
        return found.reshape(*leading, n, n)
    if native_usable(groups):
        return native_mean_negentropy(groups).reshape(*leading, n, n)
    tile, chunk = vocabulary, len(groups)
    if not torch.compiler.is_compiling():  # a compiler fuses all of it and needs no tiles
        budget = CACHED if log_p.device.type == "cpu" else 2**10 * CACHED
        tile = min(vocabulary, TILE)
        chunk = max(1, budget // (n * tile))
    rows = torch.cat([_upper_rows(some, tile) for some in groups.split(chunk)])
    first, second = torch.triu_indices(n, n, device=log_p.device)
    place = torch.empty(n, n, dtype=torch.int64, device=log_p.device)
    place[first, second] = place[second, first] = torch.arange(len(first), device=log_p.device)
    return rows[:, place].reshape(*leading, n, n)


def _upper_rows(log_p: Tensor, tile: int) -> Tensor:
    """``Σ m ln m`` for i ≤ j, row by row: ``(B, N, V)`` to ``(B, N (N + 1) / 2)``.

    The sums of tiles are added in float64, because what matters is a small difference of two totals.
    """
    exact = log_p.dtype if log_p.device.type == "mps" else torch.float64
    total = torch.zeros((), dtype=exact, device=log_p.device)
    for part in log_p.split(tile, dim=-1):
        half = 0.5 * part.exp() + torch.finfo(part.dtype).tiny  # 0 ln 0 is 0, with a finite gradient
        rows = []
        for i in range(half.shape[1]):
            m = half[:, i : i + 1] + half[:, i:]
            rows.append((m * m.log()).sum(-1))
        total = total + torch.cat(rows, -1).to(exact)
    return total


def _one_minus_root(x: Tensor) -> Tensor:
    """``1 − √x``, whose gradient at x = 0 is 0 and not infinite."""
    positive = x > 0
    return 1.0 - torch.where(positive, torch.where(positive, x, 1.0).sqrt(), 0.0)
