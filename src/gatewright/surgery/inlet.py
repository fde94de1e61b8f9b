"""How an activation comes to know the input of the projection before it."""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor, nn

from gatewright.errors import RunError

_passing = threading.local()


class Inlet:
    """A forward pre-hook of a projection that keeps its input x for the activation which is called next.

    x waits for no longer than it takes the projection to run, and in a place of the thread that runs it: replicas and
    concurrent calls of one model do not meet. The blocks' own ``forward`` methods need no change that way, whatever
    else they do.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.slot = path.replace(".", "_")  # torch.compile has no attributes with dots in their names

    def __call__(self, projection: nn.Module, inputs: tuple[Any, ...]) -> None:
        setattr(_passing, self.slot, inputs[0])

    def take(self) -> Tensor:
        """The input x of the present call; `RunError` if the projection did not run before the activation."""
        x = getattr(_passing, self.slot, None)
        if x is None:
            raise RunError(f"the gate at {self.path} saw no input: its activation ran without the projection before it")
        setattr(_passing, self.slot, None)
        return x
