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

IGNORED = -100
"""The target that is not scored, as in `torch.nn.functional.cross_entropy`."""

LARGE = 2**24
"""Logits from which on slices pay; below, they fit into fast memory or nearly so."""

SLICE = 2**25
"""Logits of a slice: enough for matrix products to be efficient."""


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
    low, wide = weight.to(hidden.dtype), torch.promote_types(hidden.dtype, torch.float32)
    total = hidden.new_zeros((), dtype=wide)
    by_hidden = torch.empty_like(hidden if learns else hidden[:0])
    by_weight = torch.zeros_like(weight if learns else weight[:0], dtype=wide)
    by_bias = hidden.new_zeros(len(weight) if learns and bias is not None else 0, dtype=wide)
    differentiate = _compiled(_losses_and_gradient) if compiled else _losses_and_gradient
    rows = max(1, SLICE // len(weight))
    for start in range(0, len(hidden), rows):
        some, aims = hidden[start : start + rows], targets[start : start + rows]
        logits = F.linear(some, low, None if bias is None else bias.to(low.dtype))
        loss, gradient = differentiate(logits, aims, learns)
        total += loss
        if learns:
            torch.mm(gradient, low, out=by_hidden[start : start + rows])
            by_weight += gradient.T @ some
            if bias is not None:
                by_bias += gradient.sum(0, dtype=wide)
    return total, by_hidden, by_weight.to(weight.dtype), by_bias.to(weight.dtype)


def _losses_and_gradient(logits: Tensor, targets: Tensor, learns: bool) -> tuple[Tensor, Tensor]:
    """Σ −ln p(target) over the scored rows, and its gradient by ``logits``, in their precision."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scored = targets != IGNORED
    places = torch.where(scored, targets, 0)[:, None]
    log_norm = wide.logsumexp(-1, keepdim=True)
    losses = torch.where(scored, (log_norm - wide.gather(1, places))[:, 0], 0.0)
    if not learns:
        return losses.sum(), logits.new_empty(0)
    chances = (wide - log_norm).exp()
    chances = chances.scatter_add(1, places, torch.full_like(log_norm, -1.0))
    return losses.sum(), torch.where(scored[:, None], chances, 0.0).to(logits.dtype)


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
