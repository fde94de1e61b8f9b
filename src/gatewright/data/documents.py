"""Which tokens of packed text belong to one document."""

from __future__ import annotations

import torch
from torch import Tensor


def apart(input_ids: Tensor, separator: int | None, device: torch.device) -> dict[str, Tensor]:
    """What a model has to be told besides ``input_ids`` ``(B, T)``, so that it sees each document alone.

    That is ``documents`` ``(B, T)``, the number in its row of the document that each token belongs to. A document
    begins with the separator before it, as a text does that is scored on its own: its first token is predicted from
    that separator, and the separator after it from the document. Where ``separator`` is None, and where no row has a
    boundary inside, there is nothing to tell, and attention takes its faster kernel without a mask. ``input_ids`` are
    looked at where they are, best on the CPU.
    """
    if separator is None or not (begins := input_ids == separator)[:, 1:].any():
        return {}
    return {"documents": begins.cumsum(-1).to(device)}
