"""Every process has a share of each parameter, of its gradient and of the optimizer's memory (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from gatewright.parts.alpha.base import Alpha
from gatewright.training.parallel.base import METADATA, load_by_parameter, sums
from gatewright.training.parallel.group import Group
from gatewright.training.recompute import blocks_of


class Sharded(Group):
    """`fully_shard` (Zhao et al., 2023, arXiv:2304.11277): the weights of a block are whole only while it computes.

    With bf16 the weights travel in bf16 and gradients are added up in float32. α's are too small to be shared out: each
    process has them whole, and their gradients are added up here.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__(device)
        self.mesh = init_device_mesh(device.type, (self.world_size,))
        self.alphas: list[Alpha] = []

    @property
    def birthplace(self) -> torch.device:
        """Without memory: a model that fits no single device is drawn share by share."""
        return torch.device("meta")

    def wrap(self, model: nn.Module, precision: str) -> nn.Module:
        """``model`` itself, its parameters replaced by shares of them."""
        self.alphas = [module for module in model.modules() if isinstance(module, Alpha)]
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        options: dict[str, Any] = {
            "mesh": self.mesh,
            "ignored_params": set(self._whole_parameters()),
            "mp_policy": MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32 if low else None),
        }
        for block in blocks_of(model):
            fully_shard(block, **options)
        fully_shard(model, **options)
        return model

    @contextmanager
    def accumulating(self, forward: nn.Module, last: bool) -> Iterator[None]:
        """Leave out the exchange for all micro-batches but the last: gradients stay whole until then."""
        wrapped = getattr(forward, "_orig_mod", forward)
        assert isinstance(wrapped, FSDPModule)
        wrapped.set_requires_gradient_sync(last)
        yield

    def finish_gradients(self) -> None:
        """Average the gradients of what is not shared out, as those of the rest are."""
        for parameter in self._whole_parameters():
            if parameter.requires_grad:
                mine = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
                parameter.grad = self.reduce(mine) / self.world_size

    def gradient_norm(self, parameters: Iterable[nn.Parameter]) -> Tensor:
        """From the shares of all processes; what is whole counts once."""
        return self.gradient_sums([p.grad for p in parameters if p.grad is not None])[1].sqrt()

    def gradient_sums(self, gradients: Sequence[Tensor]) -> Tensor:
        """Over the shares of all processes; what is whole counts once."""
        shares = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
        whole = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
        return self.reduce(sums(shares, self.device)) + sums(whole, self.device)

    def save_model(self, model: nn.Module, path: Path) -> None:
        """Put together tensor by tensor, kept by the main process on the CPU until all are there."""
        kept: dict[int, str] = {}  # a tied weight has several names and is written under the first
        for name, tensor in model.state_dict(keep_vars=True).items():
            kept.setdefault(id(tensor), name)
        state = model.state_dict()
        whole = {name: self._whole(state[name]) for name in kept.values()}
        if self.is_main:
            safetensors.torch.save_file(whole, path, metadata=METADATA)

    def load_model(self, model: nn.Module, path: Path) -> None:
        """Read this process's share of each tensor."""
        tied = {id(tensor): name for name, tensor in model.state_dict(keep_vars=True).items()}
        own = model.state_dict()
        found = safetensors.torch.load_file(path)
        _, unexpected = model.load_state_dict(
            {name: _share(tensor, own.get(name)) for name, tensor in found.items()}, strict=False
        )
        covered = {id(tensor) for name, tensor in model.state_dict(keep_vars=True).items() if name in found}
        absent = [name for number, name in tied.items() if number not in covered]
        if absent or unexpected:
            raise RuntimeError(f"missing: {absent}, not in the model: {unexpected}")

    def optimizer_tensors(self, optimizer: torch.optim.Optimizer) -> dict[nn.Parameter, dict[str, Tensor]]:
        """Put together tensor by tensor, kept by the main process on the CPU."""
        whole: dict[nn.Parameter, dict[str, Tensor]] = {
            parameter: {key: self._whole(tensor) for key, tensor in state.items()}
            for parameter, state in super().optimizer_tensors(optimizer).items()
        }
        return whole if self.is_main else {}

    def load_optimizer_tensors(
        self, optimizer: torch.optim.Optimizer, tensors: Mapping[nn.Parameter, Mapping[str, Tensor]]
    ) -> None:
        """Keep this process's share of each tensor."""
        shares = {
            parameter: {key: _share(tensor, parameter) if tensor.ndim else tensor for key, tensor in state.items()}
            for parameter, state in tensors.items()
        }
        load_by_parameter(optimizer, shares)

    def _whole_parameters(self) -> dict[nn.Parameter, None]:
        """The parameters that are not shared out, in an order that all processes have."""
        return dict.fromkeys(parameter for alpha in self.alphas for parameter in alpha.parameters())

    def _whole(self, tensor: Tensor) -> Tensor:
        full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        return full.cpu() if self.is_main else full.new_empty(0)


def _share(tensor: Tensor, like: Tensor | None) -> Tensor:
    """This process's part of ``tensor``, shared out as ``like`` is."""
    if not isinstance(like, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
