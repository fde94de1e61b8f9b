"""A blend weight that each path sets by its own doubt."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.errors import UserError


class AdaptiveWeight(nn.Module):
    """``λ_i = λ_min + (λ_max − λ_min) · σ((H_i − μ) / (σ_H τ))``: who is unsure of the next token listens more.

    H_i is the entropy of path i's next-token distribution (`gatewright.paths.token_entropy`); μ and σ_H are its running
    mean and standard deviation over live paths; τ is ``softness``. `forward` reads them, `observe` moves the moments by
    ``momentum`` towards those of one step, the first time all the way; before that λ is halfway. They are buffers, so a
    checkpoint keeps them. Since they move during a rollout, λ is something to store with a token, not to compute again.
    """

    mean: Tensor
    square: Tensor

    def __init__(
        self, *, minimum: float = 0.0, maximum: float = 0.2, softness: float = 1.0, momentum: float = 0.1
    ) -> None:
        super().__init__()
        if not 0 <= minimum <= maximum <= 1:
            raise UserError(f"adaptive.minimum={minimum}, adaptive.maximum={maximum}: want 0 ≤ minimum ≤ maximum ≤ 1")
        if not softness > 0:
            raise UserError(f"adaptive.softness={softness}: must be positive")
        if not 0 < momentum <= 1:
            raise UserError(f"adaptive.momentum={momentum}: must be in (0, 1]")
        self.minimum, self.maximum, self.softness, self.momentum = minimum, maximum, softness, momentum
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("square", torch.full((), float("inf")))  # nothing seen: σ((H − μ) / ∞) is ½

    def forward(self, entropy: Tensor) -> Tensor:
        """λ of each path, of the shape of ``entropy``."""
        deviation = (self.square - self.mean.square()).clamp(min=1e-12).sqrt()
        share = torch.sigmoid((entropy.detach().float() - self.mean) / (deviation * self.softness))
        return self.minimum + (self.maximum - self.minimum) * share

    @torch.no_grad()
    def observe(self, entropy: Tensor, live: Tensor) -> None:
        """Take in the entropies of one step, those of ``live`` paths; without any, nothing moves."""
        count = live.sum()
        first = self.square.isinf()
        for moment, values in ((self.mean, entropy.float()), (self.square, entropy.float().square())):
            now = values.masked_fill(~live, 0.0).sum() / count.clamp(min=1)
            moved = torch.where(first, now, moment.lerp(now, self.momentum))
            moment.copy_(torch.where(count > 0, moved, moment))
