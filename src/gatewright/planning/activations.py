"""What a forward pass keeps for the backward pass, with and without activation checkpointing, counted on fake tensors.

A formula such as 34 bytes per token, layer and unit of width (Korthikanti et al. 2022, arXiv:2205.05198, equation 1)
holds for one block. Here the model itself runs, on tensors without data, and what autograd keeps is added up, each
storage once, as `gatewright.model.cost.training_memory` does; besides, it is noted in which block each storage was
kept. Checkpointing a module (Chen et al. 2016, arXiv:1604.06174) keeps its input only and computes the inside again in
the backward pass, one module at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.config import ModelConfig
from gatewright.model.build import assemble

LOW = {"bf16": torch.bfloat16, "fp16": torch.float16}
LAYERED = ("position", "attention", "feedforward", "alpha")
"""Choices that may be a list with one part for each layer."""


@dataclass(frozen=True)
class Kept:
    """Bytes on a device for a micro-batch."""

    activations: int
    """Kept from the forward to the backward pass."""
    recomputed: int
    """The largest module that is computed again, while its backward pass runs."""


@dataclass(frozen=True)
class Footprint:
    """How `Kept` grows with the micro-batch, by what is checkpointed, and what does not grow."""

    copies: int
    """Low-precision copies of the weights, which autocast makes once and keeps through the forward pass."""
    per_sequence: dict[str, Kept]
    logits: int
    """Beyond what is kept: the logits, and twice their gradient in float32, of one sequence."""


def footprint(model: ModelConfig, precision: str, *, low_weights: bool = False) -> Footprint:
    """Trace ``model`` on one sequence and on two: the difference is a sequence, the rest does not grow.

    Weights are float32, and autocast chooses the arithmetic; with ``low_weights`` they have the pass's precision
    themselves, as FSDP2 gathers them, and the residual stream has it too.
    """
    one, two = (_keep(model, sequences, precision, low_weights) for sequences in (1, 2))
    per_sequence = {
        name: Kept(two[name].activations - one[name].activations, two[name].recomputed - one[name].recomputed)
        for name in one
    }
    copies = one["none"].activations - per_sequence["none"].activations
    # The loss's backward pass holds the logits, the gradient of their log-softmax and that of the logits.
    logits = model.block_size * model.vocab_size * ((2 if precision in LOW else 4) + 4 + 4)
    return Footprint(copies, per_sequence, logits)


@dataclass
class _Module:
    """Storages of a block or of a feed-forward: its input, and what is kept inside."""

    input: dict[int, Any] = field(default_factory=dict)
    inside: dict[int, Any] = field(default_factory=dict)


class _Trace:
    """Runs a model once and notes where each storage is kept first."""

    def __init__(self, model: ModelConfig, sequences: int, precision: str, low_weights: bool) -> None:
        from torch._subclasses.fake_tensor import FakeTensorMode

        self.outside = _Module()
        self._stack = [self.outside]
        self._seen: set[int] = set()
        with FakeTensorMode():
            network = assemble(model).train()
            if low_weights and precision in LOW:
                _lower(network, LOW[precision])
            self._weights = {p.untyped_storage()._cdata for p in network.parameters()}
            self.blocks = [(self._watch(b), self._watch(b.feedforward)) for b in network.blocks]
            ids = torch.zeros(sequences, model.block_size, dtype=torch.long)
            with (
                torch.autograd.graph.saved_tensors_hooks(self._note, lambda tensor: tensor),
                torch.autocast("cpu", LOW.get(precision), enabled=precision in LOW),
            ):
                network(ids, targets=ids)

    def _watch(self, module: nn.Module) -> _Module:
        found = _Module()

        def enter(_: nn.Module, arguments: tuple[Any, ...]) -> None:
            storage = arguments[0].untyped_storage()
            found.input[storage._cdata] = storage
            self._stack.append(found)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(lambda *_: self._leave())
        return found

    def _leave(self) -> None:
        self._stack.pop()

    def _note(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in self._weights and storage._cdata not in self._seen:
            self._seen.add(storage._cdata)
            self._stack[-1].inside[storage._cdata] = storage
        return tensor


def _lower(network: nn.Module, dtype: torch.dtype) -> None:
    """Give parameters another type, tied ones still tied; buffers keep theirs."""
    lower = {parameter: nn.Parameter(parameter.detach().to(dtype)) for parameter in network.parameters()}
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            setattr(module, name, lower[parameter])


def _keep(model: ModelConfig, sequences: int, precision: str, low_weights: bool) -> dict[str, Kept]:
    """What is kept for ``sequences`` sequences, by what is checkpointed.

    Where all layers are made of the same parts, two of them are traced; the second stands for all further ones.
    """
    alike = not any(isinstance(getattr(model, choice), (list, tuple)) for choice in LAYERED)
    traced = dataclasses.replace(model, n_layer=min(model.n_layer, 2)) if alike else model
    trace = _Trace(traced, sequences, precision, low_weights)
    repeats = [1] * len(trace.blocks)
    repeats[-1] += model.n_layer - traced.n_layer
    rest = _bytes(trace.outside.inside)

    def add(size: Callable[[_Module, _Module], int]) -> int:
        return sum(n * size(block, part) for n, (block, part) in zip(repeats, trace.blocks, strict=True))

    def most(inside: Iterable[int]) -> int:
        return max(inside, default=0)

    whole = [(block.input, {**block.inside, **part.inside}) for block, part in trace.blocks]
    parts = [(part.input, part.inside) for _, part in trace.blocks]
    return {
        "none": Kept(rest + add(lambda block, part: _bytes(block.inside) + _bytes(part.inside)), 0),
        "feedforward": Kept(
            rest + add(lambda block, part: _bytes({**block.inside, **part.input})),
            most(_bytes(inside) - _bytes(_common(inside, given)) for given, inside in parts),
        ),
        "blocks": Kept(
            rest + add(lambda block, part: _bytes(block.input)),
            most(_bytes(inside) - _bytes(_common(inside, given)) for given, inside in whole),
        ),
    }


def _bytes(storages: dict[int, Any]) -> int:
    return sum(storage.nbytes() for storage in storages.values())


def _common(inside: dict[int, Any], given: dict[int, Any]) -> dict[int, Any]:
    return {key: storage for key, storage in inside.items() if key in given}
