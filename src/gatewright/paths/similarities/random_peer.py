"""One peer, drawn by lot."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from gatewright.errors import UserError
from gatewright.parts.part import Dims
from gatewright.paths.attention import peers
from gatewright.paths.keys import draw_keys, uniform
from gatewright.paths.similarities.base import Similarity
from gatewright.registry import register


@register("similarity", "random_peer")
class RandomPeer(Similarity):
    """Random peer: ``S_ij`` uniform in [0, 1); all attention goes to the live peer that drew the highest. A control.

    The lot of a pair comes from the keys of its two paths and from nothing else, so who is heard does not depend on
    what else is in the batch, and no random state is touched.
    """

    symmetric = False
    keyed = True
    tempered = False

    def __init__(self, dims: Dims) -> None:
        super().__init__(dims)

    def forward(self, log_probs: Tensor, *, table: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        if keys is None:
            raise UserError("similarity 'random_peer' needs keys=, one integer for each path (draw_keys)")
        lots = uniform(draw_keys(0, keys[..., :, None], keys[..., None, :]))
        return lots.to(torch.promote_types(log_probs.dtype, torch.float32))

    def attention(self, similarity: Tensor, live: Tensor) -> Tensor:
        heard = peers(live)
        chosen = similarity.masked_fill(~heard, -1.0).argmax(-1)
        return F.one_hot(chosen, similarity.shape[-1]).to(similarity.dtype).masked_fill(~heard, 0.0)
