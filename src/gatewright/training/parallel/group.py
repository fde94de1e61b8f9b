"""What all strategies with several processes share: numbers and objects exchanged, kept off the device."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from gatewright.errors import PeerLostError
from gatewright.training.parallel.base import Parallel

PATIENCE = timedelta(minutes=30)
"""How long a process waits for others before it gives up: data may have to be prepared first."""


class Group(Parallel):
    """Processes that ``torchrun`` has started and `parallelised` has connected."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self.beside = dist.new_group(backend="gloo", timeout=PATIENCE)
        self.gradient_factor = self.world_size

    def sum(self, number: int) -> int:
        """``number`` added up over all processes."""
        return int(self.reduce(torch.tensor(number)))

    def reduce(self, numbers: Tensor) -> Tensor:
        """``numbers`` added up over all processes; on a CUDA device nobody waits for it."""
        total = numbers.clone()
        dist.all_reduce(total)
        return total

    def agree(self, value: Any) -> Any:
        """What the main process says."""
        said = [value]
        dist.broadcast_object_list(said, src=0, device=torch.device("cpu"))
        return said[0]

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in any process."""
        raised = torch.tensor(int(flag))
        dist.all_reduce(raised, op=dist.ReduceOp.MAX)
        return bool(raised)

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return values

    def exchange(self, value: Any) -> list[Any]:
        """Like `gather`, for the thread that writes checkpoints."""
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.beside)
        return values

    def wait(self) -> None:
        """Until every process is here."""
        self.any(False)

    def explained(self, error: BaseException) -> BaseException:
        """``error``, or a `PeerLostError` if an exchange with another process failed. Gloo has no error of its own."""
        if isinstance(error, dist.DistError) or (type(error) is RuntimeError and "gloo" in str(error)):
            return PeerLostError(
                f"process {self.rank} of {self.world_size} has lost another one, which was killed, failed or cannot be "
                "reached; start all of them again with resume=auto"
            )
        return error
