"""What every part promises: a label, a cost that can be computed before anything runs, and a clean start."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn


@dataclass(frozen=True)
class Dims:
    """The dimensions a part may size itself by.

    ``width`` is the width of the signal the part works on: D for most, H for what sits inside a feed-forward block,
    the head width for norms on queries and keys. ``vocab_size`` is 0 where nothing is sized by it.
    """

    n_embd: int
    n_head: int = 1
    kv_heads: int = 1
    head_dim: int = 1
    block_size: int = 1024
    n_layer: int = 1
    layer: int = 0
    bias: bool = False
    width: int = 0
    vocab_size: int = 0

    def __post_init__(self) -> None:
        if not self.width:
            object.__setattr__(self, "width", self.n_embd)

    def at(self, **changes: Any) -> Dims:
        """The same dimensions with some replaced, such as ``dims.at(width=hidden)``."""
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class Cost:
    """What a part costs for one sequence.

    ``parameters`` are all that are stored, ``active_parameters`` those a token passes through (fewer in a mixture of
    experts). ``flops`` are those of one forward pass over the sequence, counted as
    `torch.utils.flop_counter.FlopCounterMode` counts: two per multiply-add of a matrix product, attention products in
    full (no half for causality), nothing for element-wise work.
    """

    parameters: int = 0
    flops: int = 0
    active_parameters: int | None = None

    @property
    def active(self) -> int:
        """Parameters one token passes through."""
        return self.parameters if self.active_parameters is None else self.active_parameters

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.flops + other.flops, self.active + other.active)

    def times(self, n: int) -> Cost:
        """The cost of ``n`` of these."""
        return Cost(n * self.parameters, n * self.flops, n * self.active)


class Part(nn.Module):
    """A component of a model.

    A subclass takes ``dims`` and, as typed keyword-only arguments, its knobs; it sets ``label`` (its word in an
    architecture's name) and implements ``cost``. Random initialisation is the model's business (so that arms of a study
    start alike); a part that holds parameters or buffers of its own puts them to their start in ``reset``. A part with
    a fast path may also have ``reference``, the same computation written plainly, with the arguments of ``forward``.
    `gatewright.contract` checks all of this.
    """

    label: str = ""
    no_weight_decay: ClassVar[bool] = False

    def cost(self, tokens: int) -> Cost:
        """Parameters, and FLOPs of one forward pass over one sequence of ``tokens`` tokens."""
        raise NotImplementedError(f"{type(self).__name__} does not state its cost")

    def reset(self) -> None:
        """Put parameters and buffers held directly by this part (not by its children) to their starting values."""


def linear_cost(layer: nn.Linear, tokens: int) -> Cost:
    """The cost of ``y = x W^T + b`` on ``tokens`` rows."""
    weights = layer.in_features * layer.out_features
    return Cost(weights + (layer.out_features if layer.bias is not None else 0), 2 * tokens * weights)


def empty_embedding(rows: int, width: int) -> nn.Embedding:
    """An embedding that waits for the model to draw its weights (its own draw costs seconds of imports on meta)."""
    return nn.Embedding(rows, width, _weight=torch.empty(rows, width))


def residual_output(layer: nn.Linear) -> nn.Linear:
    """Mark a projection that writes to the residual stream: initialisers may scale it by depth."""
    layer.is_residual_output = True  # type: ignore[assignment]
    return layer
