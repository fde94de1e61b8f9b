"""Root-mean-square normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.norms.base import Norm
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("norm", "rmsnorm", "rms")
class RMSNorm(Norm):
    """RMSNorm: ``x / sqrt(mean(x²) + eps) · w`` over the last dimension (Zhang & Sennrich, 2019, arXiv:1910.07467).

    Written out instead of calling ``nn.RMSNorm``: the mean is taken in float32 as LLaMA's is, and exporters for older
    ONNX opsets know every operation in it.
    """

    label = "RMS"

    def __init__(self, dims: Dims, *, eps: float = 1e-6) -> None:
        super().__init__()
        if eps <= 0:
            raise UserError(f"norm 'rmsnorm'.eps={eps}: must be positive")
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(dims.width))
        self.reset()

    def reset(self) -> None:
        nn.init.ones_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return self.weight * (wide * scale).to(x.dtype)

    def cost(self, tokens: int) -> Cost:
        return Cost(self.weight.numel())
