"""Layer normalisation, with and without bias."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.norms.base import Norm
from gatewright.parts.part import Cost, Dims
from gatewright.registry import register


@register("norm", "layernorm", "ln", shift=True)
@register("norm", "layernorm_nobias", "ln_nb", shift=False)
class LayerNorm(Norm):
    """LayerNorm: ``(x − mean) / sqrt(var + eps) · w + b`` over the last dimension (Ba et al., 2016, arXiv:1607.06450).

    ``layernorm_nobias`` leaves out ``b``.
    """

    def __init__(self, dims: Dims, *, shift: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        if eps <= 0:
            raise UserError(f"norm 'layernorm'.eps={eps}: must be positive")
        self.eps = eps
        self.label = "LN" if shift else "LN-NB"
        self.weight = nn.Parameter(torch.empty(dims.width))
        self.bias = nn.Parameter(torch.empty(dims.width)) if shift else None
        self.reset()

    def reset(self) -> None:
        nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def cost(self, tokens: int) -> Cost:
        return Cost(self.weight.numel() * (1 if self.bias is None else 2))
