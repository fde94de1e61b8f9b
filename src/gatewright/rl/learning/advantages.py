"""How much better a path did than the others of its group."""

from __future__ import annotations

import torch
from torch import Tensor

EPSILON = 1e-4


def group_advantages(rewards: Tensor, *, normalise: bool = True) -> Tensor:
    """``A_i = (R_i − μ) / (σ + ε)`` over the N paths of a question, ``(B, N)`` to ``(B, N)``.

    GRPO (Shao et al., 2024, arXiv:2402.03300). σ is that of the group itself (not an estimate from a sample of it) and
    ε = 1e-4, so that a group of equal rewards has advantages of 0. Without ``normalise`` it is ``R_i − μ``: dividing
    by σ gives questions that are nearly always or nearly never answered more weight (Dr. GRPO, Liu et al., 2025,
    arXiv:2503.20783).
    """
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, correction=0, keepdim=True) + EPSILON) if normalise else centred


def zero_variance(rewards: Tensor) -> Tensor:
    """Which groups have nothing to learn from, because all of their rewards are equal; ``(B, N)`` to ``(B,)``."""
    return (rewards == rewards[..., :1]).all(-1)


def shuffled(rewards: Tensor, seed: int) -> Tensor:
    """Rewards permuted within each group ``(B, N)``: the control in which they say nothing about the paths."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.rand(rewards.shape, generator=generator).argsort(-1)
    return rewards.gather(-1, order.to(rewards.device))
