"""The inner product, scaled as in a transformer's attention."""

from __future__ import annotations

import math

from torch import Tensor

from gatewright.paths.similarities.raw_dot import RawDot
from gatewright.registry import register


@register("similarity", "scaled_dot")
class ScaledDot(RawDot):
    """Scaled dot product: ``S_ij = x_i·x_j / √F`` with F the width of x (after Vaswani et al., 2017, arXiv:1706.03762).

    This is `raw_dot` at the temperature T √F. On the vocabulary ``S ≤ 1/√V``, 0.0026 for V = 152k: at T = 0.1 attention
    is peer mean in all but name. Calibrate the temperature to compare it.
    """

    def scores(self, signal: Tensor) -> Tensor:
        return super().scores(signal) / math.sqrt(signal.shape[-1])
