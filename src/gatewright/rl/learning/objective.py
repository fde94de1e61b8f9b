"""The loss of a rollout, token by token, and how tokens are weighed into a step's sum."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Normalisation = Literal["token", "sequence", "constant"]


def token_weights(
    mask: Tensor, normalisation: Normalisation, *, paths: int, tokens: int, max_new_tokens: int
) -> Tensor:
    """What each token counts in a step's loss: ``mask`` ``(B, N, T)`` of drawn tokens to weights of that shape.

    ``paths`` and ``tokens`` are those of the whole step, so that micro-batches add up to it.

    - ``sequence``: 1 / (its path's length · paths). GRPO (arXiv:2402.03300): in long paths each token counts less, so
      that wrong answers are punished the less, the longer they are.
    - ``token``: 1 / tokens. DAPO (Yu et al., 2025, arXiv:2503.14476): all tokens count alike, long paths more.
    - ``constant``: 1 / (max_new_tokens · paths). Dr. GRPO (arXiv:2503.20783): as before, and a step does not count
      less because its paths are long.
    """
    own = mask.float()
    if normalisation == "sequence":
        return own / own.sum(-1, keepdim=True).clamp(min=1) / paths
    return own / (tokens if normalisation == "token" else max_new_tokens * paths)


def policy_gradient(log_probs: Tensor, advantages: Tensor, old: Tensor, clip: float | None) -> tuple[Tensor, Tensor]:
    """The loss of each token, ``(B, N, T)``, and whether clipping keeps its gradient away, boolean.

    ``advantages`` are ``(B, N)``, ``old`` are the log-probabilities before the first update on these paths. Without
    ``clip`` it is ``−A log π``, the plain policy gradient; with it PPO's ``−min(r A, clip(r, 1 − ε, 1 + ε) A)``,
    ``r = π / π_old`` (Schulman et al., 2017, arXiv:1707.06347).
    """
    worth = advantages[..., None]
    if clip is None:
        return -worth * log_probs, torch.zeros_like(log_probs, dtype=torch.bool)
    ratio = (log_probs - old).exp()
    plain, bounded = ratio * worth, ratio.clamp(1 - clip, 1 + clip) * worth
    return -torch.minimum(plain, bounded), bounded < plain


def divergence(log_probs: Tensor, reference: Tensor) -> Tensor:
    """An estimate of KL(π ‖ π_ref) from each drawn token: ``π_ref / π − ln(π_ref / π) − 1``, never negative.

    Schulman's k3 (http://joschu.net/blog/kl-approx.html), as in GRPO.
    """
    difference = reference - log_probs
    return difference.exp() - difference - 1
