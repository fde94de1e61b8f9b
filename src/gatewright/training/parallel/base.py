"""The seam between the trainer and the processes of a run, and its simplest case: there is one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.run import WEIGHTS
from gatewright.training.parallel.moments import moments

OPTIMIZER = "optimizer.safetensors"


@dataclass(frozen=True)
class Weights:
    """What one process writes of a model's weights, on the CPU."""

    files: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    """By file its tensors by name."""
    index: dict[str, Any] | None = None
    """For ``model.safetensors.index.json``, where there are several files."""


class Parallel:
    """One process with one device. Subclasses spread a run over the processes that ``torchrun`` has started.

    The *global* batch is what the configuration says, whatever the number of processes: each takes an equal share of
    its rows, and the gradients of the shares are added up. Every process runs the same program; what the trainer
    decides on (to stop, that a loss is not a number) it decides on numbers that all of them have. Process 0, the main
    one, writes the run directory.
    """

    rank = 0
    world_size = 1
    shares_state = False
    """Whether each process keeps a share of the optimizer's memory."""
    shards_gradients = False
    """Whether each process has a share of the gradients only."""
    beside: Any = None
    """A process group for the thread that writes checkpoints: its exchanges may overlap with those of training."""
    gradient_factor = 1
    """What losses are multiplied by before the backward pass, where gradients are averaged over the processes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run directory."""
        return self.rank == 0

    @property
    def birthplace(self) -> torch.device:
        """Where a fresh model is laid out before `wrap`; on ``meta`` it is given memory and weights afterwards."""
        return self.device

    def wrap(self, model: nn.Module, precision: str) -> nn.Module:
        """The module whose forward pass is called; gradients end up on the parameters of ``model``."""
        return model

    def adamw(self, groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
        """AdamW over parameter groups."""
        return torch.optim.AdamW(groups, **options)

    def rows(self, batch_size: int) -> tuple[int, int]:
        """First and last + 1 of this process's rows of the global batch; `UserError` if they cannot be shared out."""
        share, rest = divmod(batch_size, self.world_size)
        if rest:
            raise UserError(
                f"a step's {batch_size} sequences (train.batch_size x train.grad_accumulation) cannot be shared "
                f"equally by {self.world_size} processes"
            )
        return self.rank * share, (self.rank + 1) * share

    @contextmanager
    def accumulating(self, forward: nn.Module, last: bool) -> Iterator[None]:
        """Around the passes of one micro-batch: gradients are exchanged after the ``last`` of a step only."""
        yield

    def finish_gradients(self) -> None:
        """After the last backward pass of a step: exchange what has not been exchanged on the way."""

    def sum(self, number: int) -> int:
        """``number`` added up over all processes."""
        return number

    def reduce(self, numbers: Tensor) -> Tensor:
        """``numbers`` added up over all processes; on a CUDA device nobody waits for it."""
        return numbers

    def agree(self, value: Any) -> Any:
        """What the main process says."""
        return value

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process."""
        return flag

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        return [value]

    def wait(self) -> None:
        """Until every process is here."""

    def explained(self, error: BaseException) -> BaseException:
        """``error``, or what it means if it is the way in which an exchange with another process fails."""
        return error

    def gradient_moments(self, parameters: Iterable[nn.Parameter], first: bool) -> Tensor:
        """``(Σ g²,)``, with ``first`` ``(Σ g², Σ g)``, over all entries of all gradients."""
        return moments([p.grad for p in parameters if p.grad is not None], self.device, first)

    def exchange(self, value: Any) -> list[Any]:
        """Like `gather`, for the thread that writes checkpoints."""
        return [value]

    def weights(self, model: nn.Module, copy: bool) -> Weights:
        """What this process writes of the weights, tied ones once. All processes have to call it.

        With ``copy`` training may go on meanwhile; without, what is on the CPU already is not copied.
        """
        if not self.is_main:
            return Weights()
        tensors = model.state_dict(keep_vars=True)
        return Weights({WEIGHTS: {name: on_cpu(tensors[name], copy) for name in first_names(model)}})

    def load_model(self, model: nn.Module, folder: Path) -> None:
        """Fill ``model`` with the weights in a checkpoint, whichever strategy wrote it."""
        if (folder / WEIGHTS).exists():
            safetensors.torch.load_model(model, folder / WEIGHTS)
        else:
            from gatewright.training.parallel.shards import read_model

            read_model(folder, model)

    def own(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The optimizer with what this process keeps of the memory of ``optimizer``."""
        return optimizer

    def read_optimizer(self, folder: Path, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """The optimizer's memory in a checkpoint, at least that of ``parameters``, shared out as these are."""
        if (folder / OPTIMIZER).exists():
            return safetensors.torch.load_file(folder / OPTIMIZER)
        from gatewright.training.parallel.shards import read_optimizer

        return read_optimizer(folder, parameters)


def first_names(model: nn.Module) -> list[str]:
    """The names of a state dict without those of tensors that have one already, as tied ones do."""
    kept: dict[int, str] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        kept.setdefault(id(tensor), name)
    return list(kept.values())


def on_cpu(tensor: Tensor, copy: bool) -> Tensor:
    """``tensor`` on the CPU, contiguous; with ``copy`` in memory of its own."""
    return tensor.detach().to("cpu", copy=copy).contiguous()


def load_by_parameter(optimizer: torch.optim.Optimizer, tensors: Mapping[nn.Parameter, Mapping[str, Tensor]]) -> None:
    """Restore an optimizer's memory, given by parameter."""
    state = optimizer.state_dict()
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    numbers = [number for group in state["param_groups"] for number in group["params"]]
    pairs = zip(numbers, parameters, strict=True)
    state["state"] = {number: dict(tensors[parameter]) for number, parameter in pairs if parameter in tensors}
    optimizer.load_state_dict(state)
