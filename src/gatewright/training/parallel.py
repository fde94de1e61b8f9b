"""The seam between the loop and the number of processes: everything the loop does across processes goes through here.

One process on one device is the only mode so far. A sharded mode adds a class with the same methods: which rows of the
global batch are this rank's, how the model is wrapped, how numbers are summed and how the gradient's norm is taken.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from gatewright.errors import unknown


class SingleProcess:
    """One process, one device: rank 0 of 1."""

    rank = 0
    world_size = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run directory."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The module whose forward pass is called; gradients end up on the parameters of ``model``."""
        return model

    def rows(self, batch_size: int) -> tuple[int, int]:
        """First and last + 1 of this rank's rows of the global batch."""
        return 0, batch_size

    def sum(self, number: int) -> int:
        """``number`` added up over all ranks."""
        return number

    def gradient_norm(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """The Euclidean norm of all gradients together, a 0-d tensor."""
        return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


MODES = {"none": SingleProcess}


def create_parallel(mode: str) -> SingleProcess:
    """The strategy for ``parallel.mode``; `UserError` for a mode there is none for."""
    if mode not in MODES:
        raise unknown("parallel.mode", mode, MODES)
    return MODES[mode]()
