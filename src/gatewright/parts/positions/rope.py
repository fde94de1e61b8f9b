"""Rotary positions."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.errors import UserError
from gatewright.parts.part import Dims
from gatewright.parts.positions.base import Places, Position, Span
from gatewright.registry import register


@register("position", "rope")
class RoPE(Position):
    """RoPE: rotates pairs of query and key channels by an angle that grows with the position (arXiv:2104.09864).

    Channel pair i of position p turns by ``p · theta^(−2i/R)``; R is ``fraction`` of the head width, the other channels
    stay as they are (partial rotation, GPT-NeoX). Channels i and i + R/2 form a pair, the layout of Hugging Face's
    LLaMA. Angles are float32 whatever the model's precision.
    """

    label = "RoPE"

    def __init__(self, dims: Dims, *, theta: float = 10_000.0, fraction: float = 1.0) -> None:
        super().__init__(dims)
        if not 0 < fraction <= 1:
            raise UserError(f"position 'rope'.fraction={fraction}: must be in (0, 1]")
        if theta <= 0:
            raise UserError(f"position 'rope'.theta={theta}: must be positive")
        self.rotated = int(dims.head_dim * fraction)
        if self.rotated < 2 or self.rotated % 2:
            raise UserError(
                f"rope turns channels in pairs: {self.rotated} of head width {dims.head_dim} is not even and positive"
            )
        self.theta = theta

    def forward(self, span: Span) -> Places:
        exponent = torch.arange(0, self.rotated, 2, device=span.positions.device, dtype=torch.float32) / self.rotated
        angle = span.positions.float()[:, None, :, None] * self.theta**-exponent  # (B or 1, 1, T, R/2)
        angle = torch.cat((angle, angle), dim=-1)
        return Places(rotation=(angle.cos(), angle.sin()))


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the first R channels of ``x`` ``(B, H, T, head_dim)`` by the angles whose cos and sin are given."""
    cos, sin = (part.to(x.dtype) for part in rotation)
    turned, rest = x.split((cos.shape[-1], x.shape[-1] - cos.shape[-1]), dim=-1)
    first, second = turned.chunk(2, dim=-1)
    turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
    return torch.cat((turned, rest), dim=-1) if rest.shape[-1] else turned
