"""GPT-2's initialisation."""

from __future__ import annotations

import math

from torch import nn

from gatewright.errors import UserError
from gatewright.parts.inits.base import Init
from gatewright.parts.part import Dims
from gatewright.registry import register


@register("init", "gpt2")
class GPT2Init(Init):
    """GPT-2: every weight from N(0, 0.02²), residual outputs from N(0, 0.02²/2L) (Radford et al., 2019).

    Made for D ≈ 768, where 0.02 is about ``1/√(3D)``. It is far too small for narrow models: see `fan_in`.
    """

    def __init__(self, dims: Dims, *, std: float = 0.02) -> None:
        super().__init__(dims)
        if std <= 0:
            raise UserError(f"init 'gpt2'.std={std}: must be positive")
        self.std = std

    def linear_std(self, layer: nn.Linear, residual: bool) -> float:
        return self.std / math.sqrt(2 * self.dims.n_layer) if residual else self.std

    def embedding_std(self, layer: nn.Embedding) -> float:
        return self.std
