"""All peers alike."""

from __future__ import annotations

from torch import Tensor

from gatewright.parts.part import Dims
from gatewright.paths.similarities.base import Similarity
from gatewright.registry import register


@register("similarity", "peer_mean")
class PeerMean(Similarity):
    """Peer mean: ``S_ij = 0``; each hears all other live paths alike. A control: listening without choosing."""

    tempered = False

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)

    def scores(self, signal: Tensor) -> Tensor:
        return signal.new_zeros((*signal.shape[:-1], signal.shape[-2]))
