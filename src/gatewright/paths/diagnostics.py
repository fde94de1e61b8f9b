"""What listening was like: statistics of attention, gathered over the steps of a rollout."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.paths.attention import entropy, listeners, peers


class Diagnostics:
    """Means over all paths and steps at which a path heard somebody, the same for every similarity.

    - ``attention_entropy``, ``attention_max``, ``attention_variance`` (over the live peers), ``effective_peers``
      (exp of the entropy), ``similarity_range`` (largest less smallest S of the live peers);
    - ``differing_mass``: attention on peers that sampled another token, and ``fork_share``: how often there is such a
      peer. Where all sampled the same token the blend is that token's embedding whatever A is, so effective peers alone
      say little about what listening did;
    - ``blend_divergence``: KL(blended ‖ plain) of the next-token distributions with and without listening, in nats;
    - ``listening_share``: of all live paths, those that heard somebody.

    Sums stay on the device until `result`. A statistic that was never fed is absent; with `none` only
    ``listening_share`` is there, and 0, unless a probe was computed in its place.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(
        self,
        similarity: Tensor,
        attention: Tensor,
        live: Tensor,
        tokens: Tensor | None = None,
        blended: Tensor | None = None,
    ) -> None:
        """Take in one step, or many: S and A ``(..., N, N)``, ``live`` and the sampled ``tokens`` ``(..., N)``.

        ``blended`` ``(..., N)`` says which paths took in what they attended to; all, if left out.
        """
        heard, hears = peers(live), listeners(attention)
        spread = entropy(attention)
        took = hears if blended is None else hears & blended
        self._mean("listening_share", took.to(attention.dtype), live)
        self._mean("attention_entropy", spread, hears)
        self._mean("effective_peers", spread.exp(), hears)
        self._mean("attention_max", attention.amax(-1), hears)
        number = heard.sum(-1).clamp(min=1)
        centred = (attention - 1 / number[..., None]).masked_fill(~heard, 0.0)
        self._mean("attention_variance", centred.square().sum(-1) / number, hears)
        high = similarity.masked_fill(~heard, float("-inf")).amax(-1)
        low = similarity.masked_fill(~heard, float("inf")).amin(-1)
        self._mean("similarity_range", high - low, hears)
        if tokens is not None:
            other = (tokens[..., :, None] != tokens[..., None, :]) & heard
            self._mean("differing_mass", attention.masked_fill(~other, 0.0).sum(-1), hears)
            self._mean("fork_share", other.any(-1).to(attention.dtype), hears)

    @torch.no_grad()
    def add_divergence(self, blended: Tensor, plain: Tensor, hears: Tensor) -> None:
        """Take in log-probabilities ``(..., N, V)`` with and without listening, where ``hears`` ``(..., N)``."""
        blended, plain = blended.float(), plain.float()
        p = blended.exp()
        terms = torch.where(p > 0, p * (blended - plain), 0.0)  # 0 ln 0 is 0
        self._mean("blend_divergence", terms.sum(-1), hears)

    def result(self) -> dict[str, float]:
        """The means so far, in one transfer from the device."""
        if not self._sums:
            return {}
        values = torch.stack([*self._sums.values(), *self._counts.values()]).tolist()
        sums, counts = values[: len(self._sums)], values[len(self._sums) :]
        return {name: s / n for name, s, n in zip(self._sums, sums, counts, strict=True) if n}

    def _mean(self, name: str, values: Tensor, where: Tensor) -> None:
        exact = torch.float32 if values.device.type == "mps" else torch.float64
        total = torch.where(where, values, 0.0).sum(dtype=exact)
        self._sums[name] = self._sums[name] + total if name in self._sums else total
        count = where.sum().to(exact)
        self._counts[name] = self._counts[name] + count if name in self._counts else count
