"""A part as a function from tensors to a tensor: each kind with the little it needs around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.parts.part import Cost, Dims
from gatewright.parts.positions.base import Places, Position, Span
from gatewright.paths.keys import draw_keys
from gatewright.paths.precision import wide
from gatewright.registry import create


class Subject(nn.Module):
    """A part that maps a signal ``(B, T, width)`` to one of the same shape; other kinds derive from this class."""

    def __init__(self, part: Any, dims: Dims) -> None:
        super().__init__()
        self.part = part
        self.dims = dims

    @staticmethod
    def widths(dims: Dims) -> tuple[int, ...]:
        """The last dimension of each input; the first is the output's too."""
        return (dims.width,)

    def forward(self, *inputs: Tensor) -> Tensor:
        """The part at work on ``inputs``."""
        return self.apply_to(self.part, *inputs)

    def apply_to(self, function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        """``function`` (the part, or the part's reference implementation) at work on ``inputs``."""
        (x,) = inputs
        return function(x)

    def cost(self, tokens: int) -> Cost:
        """What the part and its surroundings say they cost."""
        return self.part.cost(tokens)


class Streams(Subject):
    """A gate: value and gate streams, and the block's input."""

    @staticmethod
    def widths(dims: Dims) -> tuple[int, ...]:
        return (dims.width, dims.width, dims.n_embd)

    def apply_to(self, function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        value, gate, x = inputs
        return function(value, gate if self.part.two_streams else value, x)


class Weighted(Subject):
    """An α, weighing a signal."""

    @staticmethod
    def widths(dims: Dims) -> tuple[int, ...]:
        return (dims.width, dims.n_embd)

    def apply_to(self, function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        signal, x = inputs
        return function(x) * signal


class Attending(Subject):
    """An attention without position encoding, over a whole sequence."""

    def apply_to(self, function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return function(x, span_of(x), Places())


class Placed(Subject):
    """A position encoding, at work on embeddings and inside an attention."""

    def __init__(self, part: Position, dims: Dims) -> None:
        super().__init__(part, dims)
        self.attention = create("attention", "manual", dims)

    def apply_to(self, function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        (x,) = inputs
        span = span_of(x)
        added = self.part.embed(span)
        return self.attention(x if added is None else x + added, span, function(span))

    def cost(self, tokens: int) -> Cost:
        return self.part.cost(tokens) + self.attention.cost(tokens)


class Wrapped(Subject):
    """A residual connection around tanh."""

    def apply_to(self, function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        (x,) = inputs
        return function(x, torch.tanh)


class Listening(Subject):
    """A similarity: paths with logits x ``(B, N, V)`` hear one another's logits."""

    @staticmethod
    def widths(dims: Dims) -> tuple[int, ...]:
        return (dims.vocab_size,)

    def apply_to(self, function: Callable[..., Any], *inputs: Tensor) -> Tensor:
        (x,) = inputs
        log_probs = torch.log_softmax(wide(x), dim=-1)
        similarity = function(log_probs, table=table_of(self.dims, log_probs), keys=keys_of(x))
        live = torch.ones(x.shape[:-1], dtype=torch.bool, device=x.device)
        return self.part.attention(similarity, live).to(x.dtype) @ x

    def cost(self, tokens: int) -> Cost:
        return self.part.cost(tokens) + Cost(flops=2 * tokens * tokens * self.dims.vocab_size)


SUBJECTS: dict[str, type[Subject]] = {
    "norm": Subject,
    "activation": Subject,
    "position": Placed,
    "attention": Attending,
    "norm_position": Wrapped,
    "feedforward": Subject,
    "gate": Streams,
    "alpha": Weighted,
    "similarity": Listening,
}
"""How each kind of module is put to work. (An ``init`` is no module and has lines of its own.)"""


def span_of(x: Tensor) -> Span:
    """The span of a whole sequence ``(B, T, D)`` from its beginning."""
    return Span(torch.arange(x.shape[1], device=x.device)[None])


def table_of(dims: Dims, like: Tensor) -> Tensor:
    """Embeddings ``(V, D)`` of a vocabulary, fixed numbers of both signs."""
    rows = torch.arange(1, dims.vocab_size + 1, dtype=like.dtype, device=like.device)
    columns = torch.arange(1, dims.n_embd + 1, dtype=like.dtype, device=like.device)
    return torch.sin(rows[:, None] * columns)


def keys_of(x: Tensor) -> Tensor:
    """Keys ``(B, N)`` of the paths in ``x`` ``(B, N, V)``."""
    questions, paths = torch.arange(x.shape[0], device=x.device), torch.arange(x.shape[1], device=x.device)
    return draw_keys(0, questions[:, None], paths)
