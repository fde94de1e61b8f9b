"""Keeping a loss or gradient that is no longer a number away from the weights."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gatewright.training.optimizer import Optimizers


class NonFiniteError(ArithmeticError):
    """A step's loss or gradient norm is NaN or infinite."""

    def __init__(self, step: int, loss: float, grad_norm: float) -> None:
        self.step = step
        """Updates done before the bad one."""
        self.what = f"loss became {loss}" if not math.isfinite(loss) else f"gradient norm became {grad_norm}"
        super().__init__(f"{self.what} at step {step + 1}")


class NonFiniteGuard:
    """Keeps a step with a non-finite loss or gradient norm from changing the weights.

    Reading a number from a CUDA device makes the program wait for it, so there the guard is *deferred*: the first bad
    step raises a flag on the device, which the fused optimizer kernel reads and which turns this and all later updates
    into no-ops; the loop reads the losses when it waits anyway (at records, evaluations and checkpoints) and finds the
    bad step then. Elsewhere the numbers are read in every step. Either way the weights stay those from before the bad
    step. (A loss scaler raises the same flag itself, for every step with bad gradients.)
    """

    def __init__(self, optimizers: Optimizers, device: torch.device, deferred: bool | None = None) -> None:
        self.deferred = (device.type == "cuda" and optimizers.fused) if deferred is None else deferred
        self._flag = torch.zeros((), device=device)
        if self.deferred:
            for optimizer in optimizers.optimizers:
                own = optimizers.parallel.own(optimizer)
                own.found_inf = self._flag  # type: ignore[attr-defined]  # as torch.amp.GradScaler does

    def watch(self, step: int, loss: Tensor, grad_norm: Tensor | None) -> None:
        """Look at the numbers of a step before its update (no norm: do not judge it). May raise `NonFiniteError`."""
        numbers = [loss] if grad_norm is None else [loss, grad_norm.to(loss.dtype)]
        both = torch.stack(numbers)
        if self.deferred:
            bad = ~torch.isfinite(both).all()
            self._flag.copy_(torch.maximum(self._flag, bad.to(self._flag.dtype)))
        elif not all(map(math.isfinite, values := both.tolist())):
            raise NonFiniteError(step, values[0], values[-1])
