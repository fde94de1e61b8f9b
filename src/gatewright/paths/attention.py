"""From similarities to attention: who hears whom, and how much."""

from __future__ import annotations

import torch
from torch import Tensor


def attend(similarity: Tensor, live: Tensor, temperature: float | Tensor) -> Tensor:
    """``A_ij = softmax_j(S_ij / T)`` over the *other live* paths j.

    S and A are ``(..., N, N)``; ``live`` ``(..., N)`` says which paths are there and still thinking. The score of all
    others, and of a path itself, is −∞ and not 0: exp(0) = 1, and they would go on receiving weight. The row of a path
    that is not live, or that has no live peer, is exactly 0. What stands in ``similarity`` for paths that are not live
    reaches neither the result nor a gradient, also if it is NaN.
    """
    heard = peers(live)
    alone = ~heard.any(-1, keepdim=True)
    scores = similarity.masked_fill(~heard, 0.0) / temperature
    scores = scores.masked_fill(~heard & ~alone, float("-inf"))  # not the whole row: softmax over nothing is NaN
    return scores.softmax(-1).masked_fill(~heard, 0.0)


def peers(live: Tensor) -> Tensor:
    """Whether path i may hear path j: both are live, and not the same. ``(..., N)`` to ``(..., N, N)``, boolean."""
    others = ~torch.eye(live.shape[-1], dtype=torch.bool, device=live.device)
    return live[..., :, None] & live[..., None, :] & others


def listeners(attention: Tensor) -> Tensor:
    """Which paths hear anybody: ``(..., N, N)`` to ``(..., N)``, boolean."""
    return attention.ne(0).any(-1)


def entropy(attention: Tensor) -> Tensor:
    """``H(A_i) = −Σ_j A_ij ln A_ij`` in nats, ``(..., N)``."""
    return torch.special.entr(attention).sum(-1)


def effective_peers(attention: Tensor) -> Tensor:
    """``exp(H(A_i))``: among how many peers attention is shared out, if it were even; ``(..., N)``."""
    return entropy(attention).exp()


def token_entropy(log_probs: Tensor) -> Tensor:
    """``H(p_i)`` of next-token distributions in nats: ``(..., N, V)`` to ``(..., N)``, in float32.

    −∞ is allowed: a token without probability adds nothing.
    """
    log_p = log_probs.float()
    return -(log_p.exp() * log_p.clamp(min=torch.finfo(log_p.dtype).min)).sum(-1)
