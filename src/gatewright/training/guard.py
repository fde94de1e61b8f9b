"""Noticing a loss or gradient that is no longer a number, before it reaches the weights or a checkpoint."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.training.optimizer import Optimizers


class NonFiniteGuard:
    """Keeps a step with a non-finite loss or gradient norm from changing the weights.

    Reading a number from a CUDA device makes the program wait for it, so there the guard is *deferred*: the first bad
    step raises a flag on the device, which the fused optimizer kernel reads and which turns this and all later updates
    into no-ops; the loop looks at the flag when it waits anyway (at records, evaluations and checkpoints). Elsewhere
    the numbers are looked at in every step. Either way the weights are those from before the bad step. (A loss scaler
    raises the same flag itself, for every step with bad gradients.)
    """

    def __init__(self, optimizers: Optimizers, device: torch.device, deferred: bool | None = None) -> None:
        self.deferred = (device.type == "cuda" and optimizers.fused) if deferred is None else deferred
        self._flag = torch.zeros((), device=device)
        if self.deferred:
            for optimizer in optimizers.optimizers:
                optimizer.found_inf = self._flag  # type: ignore[attr-defined]  # as torch.amp.GradScaler does

    def watch(self, numbers: Tensor) -> None:
        """Look at ``numbers`` of the step before its update; raise `NonFiniteError` at once unless deferred."""
        bad = ~torch.isfinite(numbers).all()
        if self.deferred:
            self._flag.copy_(torch.maximum(self._flag, bad.to(self._flag.dtype)))
        elif bad.item():
            raise NonFiniteError

    def check(self) -> None:
        """Raise `NonFiniteError` if any step so far was bad. Waits for the device."""
        if self.deferred and self._flag.item():
            raise NonFiniteError


class NonFiniteError(ArithmeticError):
    """A loss or gradient norm is NaN or infinite; the loop turns it into a message with step and module."""
