"""Gated activations in one pass over memory: value, gate and α in, the joined stream out; the same backwards.

Only value and gate are kept for the backward pass, where the plain form keeps every intermediate. The reference is
`gatewright.parts.gates.forms`.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 1024


@triton.jit
def _phi(x, kind: tl.constexpr):
    """An activation and its derivative."""
    if kind == "identity":
        return x, x * 0.0 + 1.0
    if kind == "relu":
        positive = tl.where(x > 0, 1.0, 0.0)
        return x * positive, positive
    if kind == "gelu":
        below = 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        return x * below, below + x * 0.3989422804014327 * tl.exp(-0.5 * x * x)
    if kind == "tanh":
        t = 2.0 * tl.sigmoid(2.0 * x) - 1.0
        return t, 1.0 - t * t
    if kind == "silu":
        s = tl.sigmoid(x)
        return x * s, s * (1.0 + x * (1.0 - s))
    s = tl.sigmoid(x)
    return s, s * (1.0 - s)


@triton.jit
def _join(value, gate, alpha, out, size, form: tl.constexpr, kind: tl.constexpr, block: tl.constexpr):
    places = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    there = places < size
    a = tl.load(value + places, there, other=0.0).to(tl.float32)
    b = tl.load(gate + places, there, other=0.0).to(tl.float32)
    t = tl.load(alpha).to(tl.float32)
    if form == "gate":
        phi, _ = _phi(b, kind)
        joined = a * (t * phi + (1.0 - t))
    elif form == "blend":
        phi, _ = _phi(a, kind)
        joined = t * tl.sigmoid(b) + (1.0 - t) * phi
    else:
        phi, _ = _phi(a, kind)
        joined = phi * ((1.0 - t) + t * tl.sigmoid(b))
    tl.store(out + places, joined.to(out.dtype.element_ty), there)


@triton.jit
def _differentiate(
    value, gate, alpha, gradient, by_value, by_gate, by_alpha, size,
    form: tl.constexpr, kind: tl.constexpr, block: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    places = program * block + tl.arange(0, block)
    there = places < size
    a = tl.load(value + places, there, other=0.0).to(tl.float32)
    b = tl.load(gate + places, there, other=0.0).to(tl.float32)
    g = tl.load(gradient + places, there, other=0.0).to(tl.float32)  # 0 beyond the end: nothing is added there
    t = tl.load(alpha).to(tl.float32)
    sigma = tl.sigmoid(b)
    if form == "gate":
        phi, slope = _phi(b, kind)
        a_part, b_part, t_part = g * (t * phi + (1.0 - t)), g * a * t * slope, g * a * (phi - 1.0)
    elif form == "blend":
        phi, slope = _phi(a, kind)
        a_part, b_part, t_part = g * (1.0 - t) * slope, g * t * sigma * (1.0 - sigma), g * (sigma - phi)
    else:
        phi, slope = _phi(a, kind)
        a_part = g * slope * ((1.0 - t) + t * sigma)
        b_part, t_part = g * phi * t * sigma * (1.0 - sigma), g * phi * (sigma - 1.0)
    tl.store(by_value + places, a_part.to(by_value.dtype.element_ty), there)
    tl.store(by_gate + places, b_part.to(by_gate.dtype.element_ty), there)
    tl.store(by_alpha + program, tl.sum(t_part, 0))


class GatedActivation(torch.autograd.Function):
    """Value, gate (of one shape and type) and α (one number) to the joined stream, in float32 inside."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gate: Tensor, alpha: Tensor, form: str, activation: str) -> Tensor:
        """What forms and activations there are: `gatewright.parts.gates.pagate`."""
        value, gate = value.contiguous(), gate.contiguous()
        out = torch.empty_like(value)
        size = value.numel()
        _join[(triton.cdiv(size, BLOCK),)](value, gate, alpha, out, size, form=form, kind=activation, block=BLOCK)
        ctx.save_for_backward(value, gate, alpha)
        ctx.how = form, activation
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        """By value, by gate and by α, the last added up in float32."""
        value, gate, alpha = ctx.saved_tensors
        form, activation = ctx.how
        by_value, by_gate = torch.empty_like(value), torch.empty_like(gate)
        size = value.numel()
        programs = triton.cdiv(size, BLOCK)
        by_alpha = torch.empty(programs, dtype=torch.float32, device=value.device)
        _differentiate[(programs,)](
            value, gate, alpha, gradient.contiguous(), by_value, by_gate, by_alpha, size,
            form=form, kind=activation, block=BLOCK,
        )  # fmt: skip
        return by_value, by_gate, by_alpha.sum().to(alpha.dtype).reshape(alpha.shape), None, None
