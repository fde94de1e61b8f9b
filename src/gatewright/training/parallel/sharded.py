"""Every process has a share of each parameter, of its gradient and of the optimizer's memory (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from gatewright.parts.alpha.base import Alpha
from gatewright.run import WEIGHTS
from gatewright.training.parallel.base import Weights, first_names, on_cpu
from gatewright.training.parallel.group import Group
from gatewright.training.parallel.moments import moments
from gatewright.training.parallel.shards import part_name, place, read_model, read_optimizer
from gatewright.training.recompute import blocks_of


class Sharded(Group):
    """`fully_shard` (Zhao et al., 2023, arXiv:2304.11277): the weights of a block are whole only while it computes.

    With bf16 the weights travel in bf16 and gradients are added up in float32. α's are too small to be shared out: each
    process has them whole, and their gradients are added up here.
    """

    shares_state = shards_gradients = True

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

    def gradient_moments(self, parameters: Iterable[nn.Parameter], first: bool) -> Tensor:
        """From the shares of all processes; what is whole counts once."""
        shares, whole = self._local([p.grad for p in parameters if p.grad is not None])
        return self.reduce(moments(shares, self.device, first)) + moments(whole, self.device, first)

    def weights(self, model: nn.Module, copy: bool) -> Weights:
        """Put together tensor by tensor, each kept by one process: every file has whole tensors, as transformers needs.

        Every process computes where each of them goes, so nobody has to be told.
        """
        state, names = model.state_dict(), first_names(model)
        index = place({name: state[name].nbytes for name in names}, self.world_size)
        mine = part_name(WEIGHTS, self.rank, self.world_size)
        tensors: dict[str, Tensor] = {}
        for name in names:
            tensor = state[name]
            whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
            if index["weight_map"][name] == mine:
                tensors[name] = on_cpu(whole, copy)
        return Weights({mine: tensors} if tensors else {}, index)

    def load_model(self, model: nn.Module, folder: Path) -> None:
        """Read this process's share of each tensor."""
        read_model(folder, model)

    def read_optimizer(self, folder: Path, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
        """This process's share of each tensor."""
        return read_optimizer(folder, parameters)

    def _local(self, gradients: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """This process's shares, and the gradients that every process has whole."""
        shares = [gradient.to_local() for gradient in gradients if isinstance(gradient, DTensor)]
        return shares, [gradient for gradient in gradients if not isinstance(gradient, DTensor)]

    def _whole_parameters(self) -> dict[nn.Parameter, None]:
        """The parameters that are not shared out, in an order that all processes have."""
        return dict.fromkeys(parameter for alpha in self.alphas for parameter in alpha.parameters())
