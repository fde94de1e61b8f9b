"""Where a loss stopped being a number: the first module, parameter or gradient that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn


def first_non_finite(model: nn.Module, run: Callable[[], Tensor]) -> str:
    """Repeat a step under observation and say in words where NaN or infinity comes from.

    ``run`` repeats the step's forward and backward pass and returns the loss. Looked at in this order: the weights, the
    outputs of the modules as they finish (so the innermost is named), the gradients as they are formed.
    """
    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            return f"the weight {name} is not finite"
    model.zero_grad(set_to_none=True)
    outputs: list[str] = []
    gradients: list[str] = []
    with torch.compiler.set_stance("force_eager"), _watched(model, outputs, gradients):  # compiled layers call no hooks
        loss = run()
    model.zero_grad(set_to_none=True)
    if outputs:
        return f"first non-finite output in {outputs[0]}"
    if not torch.isfinite(loss):
        return "every module's output is finite, the loss is not"
    if gradients:
        return f"the forward pass is finite; first non-finite gradient in {gradients[0]}"
    return "it did not happen again when the step was repeated"


@contextmanager
def _watched(model: nn.Module, outputs: list[str], gradients: list[str]) -> Iterator[None]:
    def watch_output(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not all(torch.isfinite(tensor).all() for tensor in _tensors(output)):
                outputs.append(name)

        return hook

    def watch_gradient(name: str) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            if not torch.isfinite(gradient).all():
                gradients.append(name)

        return hook

    handles = [m.register_forward_hook(watch_output(name or "the model")) for name, m in model.named_modules()]
    handles += [p.register_hook(watch_gradient(n)) for n, p in model.named_parameters() if p.requires_grad]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    """Every floating-point tensor in a module's output."""
    if isinstance(value, Tensor):
        if value.is_floating_point():
            yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _tensors(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for entry in fields(value):
            yield from _tensors(getattr(value, entry.name))
