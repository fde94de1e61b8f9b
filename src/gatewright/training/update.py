"""One optimizer step: gradients, clipping, update."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gatewright.data import IGNORED
from gatewright.training.guard import NonFiniteGuard
from gatewright.training.schedule import learning_rate_multiplier
from gatewright.training.work import Equipment, Outcome


@dataclass(frozen=True)
class Gradients:
    """What a backward pass leaves behind besides gradients. Tensors stay on the device until somebody reads them."""

    loss: Tensor
    """What was minimised, without auxiliary losses, before the update."""
    tokens: int
    """Tokens learned from, over all ranks."""
    aux_loss: Tensor | None = None
    """Mean auxiliary loss (load balancing of experts) over the micro-batches; None where there is none."""
    numbers: Mapping[str, float | Tensor] = field(default_factory=dict)
    """More to record about the step."""


@dataclass(frozen=True)
class StepResult:
    """What an update leaves behind."""

    gradients: Gradients
    grad_norm: Tensor
    """Global gradient norm before clipping."""
    learning_rate: float
    grad_sum: Tensor | None = None
    """Sum over all entries of the gradients before clipping, for a step that is recorded."""

    @property
    def loss(self) -> Tensor:
        """The loss before the update."""
        return self.gradients.loss


class Updater(ABC):
    """Does the steps.

    A step has to be a pure function of the weights, the optimizer's memory and its number: that is what resuming and
    repeating rest on.
    """

    def __init__(self, equipment: Equipment) -> None:
        self.model = equipment.model
        self.forward = equipment.forward
        self.optimizers = equipment.optimizers
        self.precision = equipment.precision
        self.parallel = equipment.parallel
        self.config = equipment.config.train
        self.guard = NonFiniteGuard(self.optimizers, self.precision.device)

    @abstractmethod
    def backward(self, step: int, forward: nn.Module) -> Gradients:
        """Add the gradients of step ``step`` to the parameters. Called again to look for where a NaN comes from."""

    @abstractmethod
    def evaluate(self) -> Outcome:
        """Judge the model as it is; training mode is restored."""

    def recorded(self, step: int) -> bool:
        """Whether a record is going to be made of update number ``step``."""
        return (step + 1) % self.config.log_every == 0 or step + 1 == self.config.max_steps

    def step(self, step: int) -> StepResult:
        """Update number ``step`` (0, 1, …). The (clipped) gradients stay until the next one, for whoever looks.

        Raises `NonFiniteError` where the guard is not deferred.
        """
        self.optimizers.zero_grad()
        multiplier = learning_rate_multiplier(self.config, step)
        self.optimizers.set_learning_rate(multiplier)
        found = self.backward(step, self.forward)
        self.parallel.finish_gradients()
        scaler = self.precision.scaler
        for optimizer in self.optimizers.optimizers:
            scaler.unscale_(optimizer)
        squares, *sums = self.parallel.gradient_moments(self.optimizers.parameters, self.recorded(step))
        norm = squares.sqrt()
        # Under a loss scaler an infinite gradient is part of the search for the scale, and skips the update.
        self.guard.watch(step, found.loss, None if scaler.is_enabled() else norm)
        if self.config.grad_clip > 0:
            self.optimizers.clip(self.config.grad_clip, norm)
        for optimizer in self.optimizers.optimizers:
            scaler.step(optimizer)
        scaler.update()
        return StepResult(found, norm, self.config.learning_rate * multiplier, *sums)


def count_targets(labels: Tensor) -> int:
    """How many labels are scored. Counted before they go to a device, so that none has to be waited for."""
    return int((labels.numpy() != IGNORED).sum())


def derive_seed(seed: int, step: int, rank: int) -> int:
    """A 63-bit seed for the random draws of one step on one rank; neighbouring steps have unrelated ones."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed the generators that a step on ``device`` draws from."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:  # this also leaves a note with a traceback for each kind of device that is not there, which takes 0.3 ms
        torch.manual_seed(seed)


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """``batch`` on ``device``, without waiting for the copy on CUDA."""
    if device.type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)
