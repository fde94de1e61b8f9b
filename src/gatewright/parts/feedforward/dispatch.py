"""Three ways to bring tokens to their experts and back; all give the same sums.

Each takes x ``(B, T, D)``, its routing and the experts, and returns ``Σ_i weight_i · expert_i(x)`` over a token's k
experts, ``(B, T, D)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from gatewright.parts.feedforward.routing import Routing

Experts = Iterable[nn.Module]


def dense(x: Tensor, routing: Routing, experts: Experts) -> Tensor:
    """Every expert on every token, weighted by 0 where it was not chosen: the plain reference.

    Wasteful, but its shapes depend on nothing, so it compiles and exports.
    """
    weights = torch.zeros_like(routing.logits).scatter(-1, routing.chosen, routing.weights)
    outputs = (_scale(expert(x), weight) for expert, weight in zip(experts, weights.split(1, dim=-1), strict=True))
    return reduce(torch.add, outputs)


def dropless(x: Tensor, routing: Routing, experts: Experts) -> Tensor:
    """Tokens sorted by expert, each expert on its own; the load decides the shapes, so it has to be read back."""
    order = routing.chosen.flatten().argsort(stable=True)
    sizes = _sizes(routing)
    # an expert without tokens runs on no rows: its parameters still get a gradient, of zeros
    out = [expert(rows) for expert, rows in zip(experts, _choices(x, routing)[order].split(sizes), strict=True)]
    return _combine(torch.cat(out)[order.argsort()], routing)


def within_capacity(x: Tensor, routing: Routing, experts: Experts, capacity: int) -> tuple[Tensor, Tensor]:
    """At most ``capacity`` tokens of each sequence to each expert; a choice that finds its expert full adds nothing.

    Earlier tokens go first, and a token's first choice before its second, so that nobody is turned away for the sake of
    a later token or of another sequence. All shapes are static. Also returns which choices were served, ``(B, T, k)``.
    """
    batch, width = x.shape[0], x.shape[-1]
    assigned = routing.assigned().flatten(1, 2)  # (B, T·k, E)
    place = (assigned.cumsum(1) * assigned).sum(-1) - 1  # (B, T·k): how many came to the same expert before
    served = place < capacity
    sequence = torch.arange(batch, device=x.device).unsqueeze(-1)
    slot = (routing.chosen.flatten(1) * batch + sequence) * capacity + place
    n_experts = assigned.shape[-1]
    slots = n_experts * batch * capacity
    slot = torch.where(served, slot, slots).flatten()  # those not served share one more row, which nobody reads
    filled = x.new_zeros(slots + 1, width).index_put((slot,), _choices(x, routing))
    out = [expert(rows) for expert, rows in zip(experts, filled[:-1].split(batch * capacity), strict=True)]
    out += [torch.zeros_like(out[0][:1])]
    return _combine(torch.cat(out)[slot], routing), served.view_as(routing.chosen)


def _choices(x: Tensor, routing: Routing) -> Tensor:
    """One row a choice, ``(B·T·k, D)``.

    Copied out instead of gathered by token: rows are then only permuted, and the gradient of a permutation adds up in a
    fixed order.
    """
    return x.unsqueeze(-2).expand(*routing.chosen.shape, x.shape[-1]).reshape(-1, x.shape[-1])


def _combine(rows: Tensor, routing: Routing) -> Tensor:
    """The weighted sum of each token's choices, ``(B·T·k, D)`` to ``(B, T, D)``."""
    return _scale(rows.view(*routing.chosen.shape, -1), routing.weights.unsqueeze(-1)).sum(-2)


def _scale(rows: Tensor, weights: Tensor) -> Tensor:
    """Element by element and not as a matrix product, which autocast would lower and a FLOP counter would count."""
    return rows * weights.to(rows.dtype)


def _sizes(routing: Routing) -> list[int]:
    """How many choices fell on each expert. Tensors without data, as in a dry run for memory, count as an even load."""
    n_experts = routing.logits.shape[-1]
    if routing.chosen.is_meta or isinstance(routing.chosen, FakeTensor):
        total = routing.chosen.numel()
        return [total // n_experts + (expert < total % n_experts) for expert in range(n_experts)]
    sizes: list[int] = routing.assigned().sum((0, 1, 2)).tolist()
    return sizes
