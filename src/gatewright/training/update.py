"""One optimizer step: batch, forward and backward passes, clipping, update."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatewright.config import TrainConfig
from gatewright.data import IGNORED, BlockSampler
from gatewright.errors import RunError
from gatewright.model.language_model import LanguageModel
from gatewright.training.guard import NonFiniteGuard
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import SingleProcess
from gatewright.training.precision import Precision
from gatewright.training.schedule import learning_rate_multiplier


@dataclass(frozen=True)
class StepResult:
    """What an update leaves behind. Tensors stay on the device until somebody reads them."""

    loss: Tensor
    """Mean cross-entropy over the step's targets, before the update."""
    aux_loss: Tensor | None
    """Mean auxiliary loss (load balancing of experts) over the micro-batches; None where there is none."""
    grad_norm: Tensor
    """Global gradient norm before clipping."""
    learning_rate: float


class Updater:
    """Does the steps. ``model`` is the plain module; ``forward`` may be its compiled or wrapped form. ``sampler`` gives
    global batches of batch_size · grad_accumulation rows.

    The gradient of a step is that of (Σ token losses) / (number of targets in the step), however the step's rows are
    split into micro-batches and however the targets are spread over them; auxiliary losses are averaged over the
    micro-batches. Dropout draws from generators seeded by (seed, step, rank), so a step is a pure function of the
    weights, the optimizer's memory and its number.
    """

    def __init__(
        self,
        model: LanguageModel,
        forward: nn.Module,
        optimizers: Optimizers,
        sampler: BlockSampler,
        precision: Precision,
        parallel: SingleProcess,
        config: TrainConfig,
    ) -> None:
        self.model = model
        self.forward = forward
        self.optimizers = optimizers
        self.sampler = sampler
        self.precision = precision
        self.parallel = parallel
        self.config = config
        self.guard = NonFiniteGuard(optimizers, precision.device)

    def step(self, step: int) -> StepResult:
        """Update number ``step`` (0, 1, …). The (clipped) gradients stay until the next one, for whoever looks.

        Raises `NonFiniteError` where the guard is not deferred.
        """
        self.optimizers.zero_grad()
        multiplier = learning_rate_multiplier(self.config, step)
        self.optimizers.set_learning_rate(multiplier)
        loss, aux_loss = self.backward(step, self.forward)
        scaler = self.precision.scaler
        for optimizer in self.optimizers.optimizers:
            scaler.unscale_(optimizer)
        parameters = self.optimizers.parameters
        norm = self.parallel.gradient_norm(parameters)
        # Under a loss scaler an infinite gradient is part of the search for the scale, and skips the update.
        self.guard.watch(step, loss, None if scaler.is_enabled() else norm)
        if self.config.grad_clip > 0:
            nn.utils.clip_grads_with_norm_(parameters, self.config.grad_clip, norm)
        for optimizer in self.optimizers.optimizers:
            scaler.step(optimizer)
        scaler.update()
        return StepResult(loss, aux_loss, norm, self.config.learning_rate * multiplier)

    def backward(self, step: int, forward: nn.Module) -> tuple[Tensor, Tensor | None]:
        """Add the gradients of step ``step`` to the parameters; return its loss and auxiliary loss, detached."""
        device = self.precision.device
        input_ids, labels = self.sampler.rows(step, *self.parallel.rows(self.sampler.batch_size))  # (B, T) each
        targets = self.parallel.sum(count_targets(labels))
        if targets == 0:
            raise RunError(f"the batch of step {step + 1} has no targets: every label is {IGNORED}")
        torch.manual_seed(derive_seed(self.config.seed, step, self.parallel.rank))
        loss, aux_loss = torch.zeros((), device=device), None
        rows = self.config.batch_size
        for micro_ids, micro_labels in zip(input_ids.split(rows), labels.split(rows), strict=True):
            with self.precision.autocast():
                output = forward(to_device(micro_ids, device), targets=to_device(micro_labels, device), reduction="sum")
            share = output.cross_entropy / targets
            loss += share.detach()
            if output.aux_loss is not None:
                aux = output.aux_loss / self.config.grad_accumulation
                aux_loss = aux.detach() if aux_loss is None else aux_loss + aux.detach()
                share = share + aux
            self.precision.scaler.scale(share).backward()
        return loss, aux_loss


def count_targets(labels: Tensor) -> int:
    """How many labels are scored. Counted before they go to a device, so that none has to be waited for."""
    return int((labels.numpy() != IGNORED).sum())


def derive_seed(seed: int, step: int, rank: int) -> int:
    """A 63-bit seed for the random draws of one step on one rank; neighbouring steps have unrelated ones."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def to_device(batch: Tensor, device: torch.device) -> Tensor:
    """``batch`` on ``device``, without waiting for the copy on CUDA."""
    if device.type == "cuda":
        return batch.pin_memory().to(device, non_blocking=True)
    return batch.to(device)
