"""Joining the other processes of a run, and leaving them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from gatewright.errors import UserError, unknown
from gatewright.hardware.device import resolve_device
from gatewright.training.parallel.base import Parallel
from gatewright.training.parallel.group import PATIENCE

MODES = ("none", "ddp", "zero1", "fsdp2")


@contextmanager
def parallelised(mode: str, device: str) -> Iterator[Parallel]:
    """Inside, this process is one of those that ``torchrun`` has started; alone with ``mode`` none.

    ``device`` is the configuration's; with CUDA each process of a machine gets a device of its own. Raises `UserError`
    for a mode there is none of, and for a mode that does not suit the way the program was started.
    """
    if mode not in MODES:
        raise unknown("parallel.mode", mode, MODES)
    processes = int(os.environ.get("WORLD_SIZE", "0"))
    if mode == "none":
        if processes > 1:
            raise UserError(f"{processes} processes were started, but parallel.mode=none; choose ddp, zero1 or fsdp2")
        yield Parallel(resolve_device(device))
        return
    if not processes:
        raise UserError(
            f"parallel.mode={mode} needs several processes: torchrun --nproc-per-node N -m gatewright train …"
        )
    where = resolve_device(device)
    if where.type == "mps":
        raise UserError(f"parallel.mode={mode} needs device=cuda or device=cpu")
    if where.type == "cuda":
        where = torch.device("cuda", _own_device())
        torch.cuda.set_device(where)
    # two backends: what the trainer agrees on stays off the device, where reading it would make the program wait
    backend = "cpu:gloo,cuda:nccl" if where.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    try:
        yield _strategy(mode, where)
    finally:
        dist.destroy_process_group()


def _own_device() -> int:
    local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local >= there:
        raise UserError(f"torchrun started more processes on this machine than its {there} CUDA devices")
    return local


def _strategy(mode: str, device: torch.device) -> Parallel:
    if mode == "fsdp2":
        from gatewright.training.parallel.sharded import Sharded

        return Sharded(device)
    from gatewright.training.parallel.replicated import Replicated, ZeroOne

    return (ZeroOne if mode == "zero1" else Replicated)(device)
