"""Every process has the whole model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from gatewright.training.parallel.group import Group

_NAMES = inspect.signature(DistributedDataParallel).parameters
SYNC_BUFFERS = "forward_sync_buffers" if "forward_sync_buffers" in _NAMES else "broadcast_buffers"
"""The same option before and after torch 2.13."""


class Replicated(Group):
    """`DistributedDataParallel`: whole models, gradients averaged while the backward pass goes on."""

    def wrap(self, model: nn.Module, precision: str) -> nn.Module:
        """``model`` in its wrapper. Buffers are functions of the step and need no exchange."""
        devices = [self.device] if self.device.type == "cuda" else None
        buffers: dict[str, Any] = {SYNC_BUFFERS: False}
        return DistributedDataParallel(model, device_ids=devices, gradient_as_bucket_view=True, **buffers)

    @contextmanager
    def accumulating(self, forward: nn.Module, last: bool) -> Iterator[None]:
        """Leave out the exchange for all micro-batches but the last."""
        wrapper: Any = getattr(forward, "_orig_mod", forward)  # compilation wraps once more
        with nullcontext() if last else wrapper.no_sync():
            yield


class ZeroOne(Replicated):
    """ZeRO stage 1 (Rajbhandari et al., 2020, arXiv:1910.02054): each process keeps a share of the optimizer's memory.

    It updates the parameters that this share belongs to and sends them to the others.
    """

    shares_state = True

    def adamw(self, groups: list[dict[str, Any]], **options: Any) -> torch.optim.Optimizer:
        """AdamW whose state is shared out."""
        unnamed = [{**group, "params": [parameter for _, parameter in group["params"]]} for group in groups]
        return ZeroRedundancyOptimizer(unnamed, optimizer_class=torch.optim.AdamW, **options)

    def own(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """The AdamW over this process's share of the parameters."""
        assert isinstance(optimizer, ZeroRedundancyOptimizer)
        own: torch.optim.Optimizer = optimizer.optim
        return own
