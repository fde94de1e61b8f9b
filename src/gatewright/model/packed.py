"""Generation in bfloat16, with weights that lie on a CPU as its matrix units read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.hardware.device import native_bf16
from gatewright.model.language_model import LanguageModel

LARGE = 2**24
"""Parameters from which on weights do not stay in a CPU's cache, and generation waits for them."""
ROWS = 8
"""Tokens at a time that the order of the weights is best for. Any number works."""

operators: Any = torch.ops.mkldnn


class PackedLinear(nn.Module):
    """``x Wᵀ + b`` in bfloat16, accumulated in float32; W is packed by oneDNN once, not at each call."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.packed = operators._reorder_linear_weight(weight.detach().bfloat16(), ROWS)
        self.bias = None if bias is None else bias.detach().bfloat16()

    @property
    def weight(self) -> Tensor:
        """W ``(out, in)`` as it was, for a part that multiplies by it itself."""
        return self.packed.to_dense()

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = operators._linear_pointwise(x.bfloat16(), self.packed, self.bias, "none", [], "")
        return product


def generation_precision(requested: str, model: nn.Module) -> str:
    """``auto`` becomes bf16 for large models where the hardware computes in it natively, else float32."""
    if requested != "auto":
        return requested
    parameters = list(model.parameters())
    large = sum(parameter.numel() for parameter in parameters) >= LARGE
    return "bf16" if large and native_bf16(parameters[0].device) else "float32"


@contextmanager
def in_bf16(model: nn.Module) -> Iterator[None]:
    """Inside, ``model`` computes in bfloat16 by autocast; one of ours, on a CPU, with packed weights as well.

    Half as many bytes have to be read for a token. The weights are there twice inside, and afterwards as they were.
    """
    device = next(model.parameters()).device.type
    swaps = _packed_layers(model) if isinstance(model, LanguageModel) and device == "cpu" else []
    for parent, name, _, packed in swaps:
        setattr(parent, name, packed)
    try:
        with torch.autocast(device, torch.bfloat16):
            yield
    finally:
        for parent, name, layer, _ in swaps:
            setattr(parent, name, layer)


def _packed_layers(model: LanguageModel) -> list[tuple[nn.Module, str, nn.Module | None, PackedLinear]]:
    """The module that holds a linear layer, its name there, the layer, and what takes its place.

    Layers of other classes stay, and those with hooks, which would be passed over. A tied head gets weights of its own.
    """
    swaps: list[tuple[nn.Module, str, nn.Module | None, PackedLinear]] = [
        (parent, name, child, PackedLinear(child.weight, child.bias))
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear and not child._forward_hooks and not child._forward_pre_hooks
    ]
    if model.head is None:
        swaps.append((model, "head", None, PackedLinear(model.embedding.weight)))
    return swaps
