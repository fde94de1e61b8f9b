"""What a path reads next: its own token, blended with those of the paths it listens to."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.errors import UserError
from gatewright.paths.attention import listeners
from gatewright.paths.precision import wide, without_autocast


def blend(embeddings: Tensor, attention: Tensor, live: Tensor, blend_weight: float | Tensor) -> Tensor:
    """``h_i = (1 − λ) e_i + λ Σ_j A_ij e_j`` (M3PO, arXiv:2512.01485): ``(..., N, D)`` to ``(..., N, D)``.

    ``embeddings`` are those of the sampled tokens; ``attention`` is ``(..., N, N)``, ``live`` is ``(..., N)``. λ is
    ``blend_weight`` in [0, 1], one number or one for each path, ``(..., N)``. A path that is not live, hears nobody or
    has λ = 0 keeps ``e_i`` bit for bit. Computed in float32 or wider, returned in the type of ``embeddings``;
    differentiable by all tensors. Raises `UserError` for a number outside [0, 1].
    """
    if not isinstance(blend_weight, Tensor):
        if not 0 <= blend_weight <= 1:
            raise UserError(f"blend_weight={blend_weight}: must be in [0, 1]")
        if blend_weight == 0:
            return embeddings
    hears = _hears(attention, live, blend_weight)
    with without_autocast(embeddings):
        own = wide(embeddings).masked_fill(~live[..., None], 0.0)  # a weight of 0 does not silence a NaN
        weight = blend_weight[..., None].to(own.dtype) if isinstance(blend_weight, Tensor) else blend_weight
        mixed = torch.lerp(own, attention.to(own.dtype) @ own, weight)
    return torch.where(hears, mixed.to(embeddings.dtype), embeddings)


def blend_logits(logits: Tensor, attention: Tensor, live: Tensor, blend_weight: float | Tensor) -> Tensor:
    """The blend of output logits instead of input embeddings, ``(..., N, V)``; arguments as those of `blend`.

    ``softmax`` of it is the weighted geometric mean of the paths' distributions, normalised; what a row of logits is
    shifted by does not matter. A token at −∞ for a path that is heard is as good as impossible for the listener.
    """
    if not isinstance(blend_weight, Tensor) and blend_weight == 0:
        return logits
    finite = wide(logits).clamp(min=torch.finfo(torch.float32).min / 2)  # 0 · ∞ would be NaN
    mixed = blend(finite, attention, live, blend_weight)
    return torch.where(_hears(attention, live, blend_weight), mixed.to(logits.dtype), logits)


def _hears(attention: Tensor, live: Tensor, blend_weight: float | Tensor) -> Tensor:
    """Which rows change, ``(..., N, 1)``."""
    hears = live & listeners(attention)
    if isinstance(blend_weight, Tensor):
        hears = hears & (blend_weight > 0)
    return hears[..., None]
