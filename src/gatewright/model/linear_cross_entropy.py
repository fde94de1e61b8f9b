"""The cross-entropy of a linear head, without its logits in memory.

Logits ``(N, V)`` of a large vocabulary are the largest tensor of a training step, and they are only needed to form
their own gradient, softmax(logits) − one-hot. So a slice of rows at a time gives its losses and, in the same pass, its
share of the gradients of what the head reads and of its weights; the backward pass only scales them. Rows that are
not scored cost what the others do.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from gatewright.kernels.native_cross_entropy import native_cross_entropy, native_usable

IGNORED = -100
"""The target that is not scored, as in `torch.nn.functional.cross_entropy`."""

LARGE = 2**24
"""Logits from which on slices pay; below, they fit into fast memory or nearly so."""

SLICE = 2**25
"""Logits of a slice: enough for matrix products to be efficient."""

PIECE = 256
"""Rows of a slice whose gradient is formed at a time on a CPU: oneDNN gives 512 or 1,024 to one thread alone."""

WORDS = 4096
"""Rows of the head's weights whose gradient is formed at a time, so that it is still in the cache when it is added."""


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """``cross_entropy(hidden @ weight.T + bias, targets)``: ``(N, D)``, ``(V, D)``, ``(V,)`` and ``(N,)`` to a scalar.

    Targets of −100 are not scored. Under autocast matrix products are in its precision; losses, softmax and the
    gradient of the weights are in float32 at least.
    """
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        hidden = hidden.to(torch.get_autocast_dtype(device))
    learns = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in (hidden, weight, bias))
    compiled = torch.compiler.is_compiling()
    total: Tensor = _fused(hidden, weight, bias, targets, learns, compiled)[0]
    return total if reduction == "sum" else total / (targets != IGNORED).sum()


def cross_entropy(logits: Tensor, targets: Tensor, reduction: Literal["mean", "sum"] = "mean") -> Tensor:
    """The same of logits ``(N, V)`` that stand in memory: the reference."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(wide, targets, ignore_index=IGNORED, reduction=reduction)


@torch.library.custom_op("gatewright::linear_cross_entropy", mutates_args=())
def _fused(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, learns: bool, compiled: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The summed loss, and its gradients by ``hidden``, ``weight`` and ``bias`` (empty where they are not wanted)."""
    wide, on_cpu = torch.promote_types(hidden.dtype, torch.float32), hidden.device.type == "cpu"
    # A CPU's products in low precision are half as fast again by weights that lie as (D, V).
    turn = _compiled(_turned) if compiled and on_cpu and hidden.dtype != weight.dtype else _cast
    low = turn(weight, hidden.dtype)
    total = hidden.new_zeros((), dtype=wide)
    by_hidden = torch.empty_like(hidden if learns else hidden[:0])
    by_weight = torch.zeros_like(weight if learns else weight[:0], dtype=wide)
    by_bias = hidden.new_zeros(len(weight) if learns and bias is not None else 0, dtype=wide)
    slices = max(1, -(-hidden.shape[0] * len(weight) // SLICE))
    rows = max(1, -(-hidden.shape[0] // slices))
    store = hidden.new_empty(rows, len(weight))
    for start in range(0, len(hidden), rows):
        some, aims = hidden[start : start + rows], targets[start : start + rows]
        logits = torch.mm(some, low, out=store[: len(some)])
        if bias is not None:
            logits += bias.to(low.dtype)
        total += _score(logits, aims, learns, compiled).sum()
        if learns:  # the logits are their own gradient now
            piece = PIECE if on_cpu else rows
            for part, its in zip(logits.split(piece), by_hidden[start : start + rows].split(piece), strict=True):
                torch.mm(part, low.T, out=its)
            for part, its in zip(logits.split(WORDS, dim=1), by_weight.split(WORDS), strict=True):
                its += part.T @ some
            if bias is not None:
                by_bias += logits.sum(0, dtype=wide)
    return total, by_hidden, by_weight.to(weight.dtype), by_bias.to(weight.dtype)


def _score(logits: Tensor, targets: Tensor, learns: bool, compiled: bool) -> Tensor:
    """The loss of each row ``(N,)``. With ``learns``, ``logits`` become the gradient of their sum in place."""
    if native_usable(logits):
        return native_cross_entropy(logits, targets, IGNORED, learns)
    scored = targets != IGNORED
    places = torch.where(scored, targets, 0)
    rows = torch.arange(len(targets), device=targets.device)
    aimed_at = logits[rows, places].to(torch.promote_types(logits.dtype, torch.float32))
    normalise = _compiled(_normalise) if compiled else _normalise
    losses = torch.where(scored, normalise(logits, scored[:, None], learns) - aimed_at, 0.0)
    if learns:  # p − 1, exact near p = 1
        logits[rows, places] = torch.where(scored, torch.expm1(-losses), 0.0).to(logits.dtype)
    return losses


def _normalise(logits: Tensor, scored: Tensor, learns: bool) -> Tensor:
    """Ln Σ exp of each row of ``logits``, which become their softmax in place, 0 in rows that are not scored."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_norm = wide.logsumexp(-1, keepdim=True)
    if learns:
        logits.copy_((wide - log_norm).exp() * scored)
    return log_norm[:, 0]


def _cast(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """``weight`` ``(V, D)`` as ``(D, V)``."""
    return weight.to(dtype).T


def _turned(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """The same, in that order in memory too."""
    return _cast(weight, dtype).contiguous()


@cache
def _compiled(function: Any) -> Any:
    return torch.compile(function, dynamic=False)


@_fused.register_fake
def _(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, learns: bool, compiled: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    wide = torch.promote_types(hidden.dtype, torch.float32)
    return (
        hidden.new_empty((), dtype=wide),
        torch.empty_like(hidden if learns else hidden[:0]),
        torch.empty_like(weight if learns else weight[:0]),
        weight.new_empty(len(weight) if learns and bias is not None else 0),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.has_bias = inputs[2] is not None


def _scale(ctx: Any, total: Tensor, *_: Any) -> tuple[Any, ...]:
    by_hidden, by_weight, by_bias = ctx.saved_tensors
    scaled = [by_hidden * total.to(by_hidden.dtype), by_weight * total.to(by_weight.dtype)]
    return *scaled, by_bias * total.to(by_bias.dtype) if ctx.has_bias else None, None, None, None


_fused.register_autograd(_scale, setup_context=_keep)
