"""Initial weights as a function of the seed and the parameter's name alone."""

from __future__ import annotations

import hashlib
import sys

import torch
from torch import nn

from gatewright.parts.inits.base import Init
from gatewright.parts.part import Part


@torch.no_grad()
def initialise(model: nn.Module, init: Init, seed: int) -> None:
    """Give every parameter and buffer of ``model`` its starting value, in place.

    Each random tensor comes from a generator keyed by (seed, name). Two models therefore agree wherever a name and a
    shape agree, whatever else differs between them, and a tensor can be made on any device or shard alone.
    """
    for name, module in model.named_modules():
        if type(module) is nn.Linear:
            residual = getattr(module, "is_residual_output", False)
            _normal(module.weight, init.linear_std(module, residual), seed, f"{name}.weight")
            if module.bias is not None:
                module.bias.zero_()
        elif type(module) is nn.Embedding:
            _normal(module.weight, init.embedding_std(module), seed, f"{name}.weight")
        elif isinstance(module, Part):
            module.reset()
        elif next(module.parameters(recurse=False), None) is not None:
            module.reset_parameters()  # a layer with a start of its own, which draws no random numbers


def _normal(tensor: torch.Tensor, std: float, seed: int, name: str) -> None:
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
    drawn = torch.empty(tensor.shape).normal_(0.0, std, generator=generator)
    if "torch.distributed.tensor" in sys.modules:  # else there can be no share of one, and importing it takes seconds
        drawn = _share(drawn, tensor)
    tensor.copy_(drawn)


def _share(drawn: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    """What this process keeps of what was drawn, as ``tensor`` is laid out."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if not isinstance(tensor, DTensor):
        return drawn
    return distribute_tensor(drawn.to(tensor.device), tensor.device_mesh, tensor.placements, src_data_rank=None)
