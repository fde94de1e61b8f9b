"""Activations with which trainings go wrong, for ``--plugin``: as long as a file of their name lies in a folder.

The folder is the environment's FAULTS. Without the file each is the GELU that it is derived from.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor

from gatewright import register
from gatewright.parts.activations.gelu import GELU

STEP = 70
"""About the step at which it happens: one layer is called once a step, and a few times in evaluations."""


class Faulty(GELU):
    """GELU, until it is called for the `STEP`-th time while the file is there."""

    calls = 0
    label = "GELU"

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        mark = Path(os.environ["FAULTS"]) / type(self).__name__
        if self.calls >= STEP and mark.exists():
            self.go_wrong(mark)
        return super().forward(x)

    def go_wrong(self, mark: Path) -> None:
        """What happens."""
        raise NotImplementedError


@register("activation", "mortal")
class Mortal(Faulty):
    """Is killed once, as by a system that is out of memory."""

    def go_wrong(self, mark: Path) -> None:
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


@register("activation", "hungry")
class Hungry(Faulty):
    """Asks for an exbibyte."""

    def go_wrong(self, mark: Path) -> None:
        torch.empty(2**60, dtype=torch.uint8)


@register("activation", "asleep")
class Asleep(Faulty):
    """Hangs once."""

    def go_wrong(self, mark: Path) -> None:
        mark.unlink()
        time.sleep(100_000)
