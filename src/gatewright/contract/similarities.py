"""Lines about a similarity between paths, beside those of every module: symmetry, masks, edges, precision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatewright.contract.case import SMALL, Case
from gatewright.contract.line import demand, demand_close, demand_equal, line
from gatewright.contract.subject import keys_of, table_of
from gatewright.paths.similarities.base import Similarity

ROUNDING = 1e-6
"""What float32 results may differ by that are the same but for the order of a sum."""


@line("similarity")
def symmetric(case: Case) -> None:
    """S_ij = S_ji, where the class says so."""
    part = _part(case)
    if part.symmetric:
        for log_probs in _distributions().values():
            s = _similarity(part, log_probs)
            demand_close(s, s.mT, "the transposed S", atol=ROUNDING)


@line("similarity")
def bounded(case: Case) -> None:
    """S stays within ``bounds``, where the class has any, for flat, peaked, equal or disjoint rows; never NaN."""
    part = _part(case)
    for name, log_probs in _distributions().items():
        s = _similarity(part, log_probs)
        demand(bool(s.isfinite().all()), f"S is not finite for {name} distributions")
        if part.bounds is not None:
            low, high = part.bounds
            least, most = s.min().item(), s.max().item()
            demand(
                low - ROUNDING <= least and most <= high + ROUNDING, f"S in [{least}, {most}] for {name} distributions"
            )


@line("similarity")
def equivariant(case: Case) -> None:
    """Paths in another order give S and A in that order: no path is special."""
    part, log_probs = _part(case), _log_probs()
    keys, live = keys_of(log_probs), torch.tensor([[1, 1, 0, 1, 1], [1, 1, 1, 1, 1]], dtype=torch.bool)
    order = torch.tensor([3, 0, 4, 2, 1])
    s, other = _similarity(part, log_probs), _similarity(part, log_probs[:, order], keys[:, order])
    demand_close(other, s[:, order][:, :, order], "S of permuted paths", atol=ROUNDING)
    a, b = part.attention(s, live), part.attention(other, live[:, order])
    demand_close(b, a[:, order][:, :, order], "A of permuted paths", atol=_sharpened(part))


@line("similarity")
def apart(case: Case) -> None:
    """What the paths of one question hear does not depend on the other questions in the batch."""
    part, log_probs = _part(case), _log_probs(groups=3)
    keys, live = keys_of(log_probs), torch.ones(3, 5, dtype=torch.bool)
    s = _similarity(part, log_probs)
    for group in range(3):
        one = slice(group, group + 1)
        alone = _similarity(part, log_probs[one], keys[one])
        demand_close(alone, s[one], f"S of group {group} alone", atol=ROUNDING)
        a, b = part.attention(s, live)[one], part.attention(alone, live[one])
        demand_close(b, a, f"A of group {group} alone", atol=_sharpened(part))


@line("similarity")
def masked(case: Case) -> None:
    """Weights are 0 for oneself and for paths that are not live, whatever they hold; a listener's add up to 1."""
    part, log_probs = _part(case), _log_probs()
    live = torch.tensor([[1, 0, 1, 1, 0], [1, 1, 1, 0, 1]], dtype=torch.bool)
    a = part.attention(_similarity(part, log_probs), live)
    demand(bool((a >= 0).all()), "a weight is negative")
    demand(not a.diagonal(dim1=-2, dim2=-1).any(), "a path hears itself")
    demand(not a[~live].any(), "a path hears somebody although it is not live")
    demand(not a.mT[~live].any(), "a path is heard although it is not live")
    silent = not a.any()  # a similarity by which nobody listens at all
    total = torch.zeros(live.shape) if silent else live.to(a.dtype)
    demand_close(a.sum(-1), total, "the sum of a listener's weights", atol=ROUNDING)
    for garbage in (log_probs.flip(-1), torch.full_like(log_probs, float("nan"))):
        changed = torch.where(live[..., None], log_probs, garbage)
        again = part.attention(_similarity(part, changed), live)
        demand_close(again, a, "A with something else in the place of paths that are not live", atol=_sharpened(part))


@line("similarity")
def alone(case: Case) -> None:
    """With one live path, or none, or one path at all, all weights are exactly 0 and gradients finite."""
    part = _part(case)
    lonely = torch.tensor([[0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], dtype=torch.bool)
    for live in (lonely, torch.ones(2, 1, dtype=torch.bool)):
        log_probs = _log_probs(paths=live.shape[1]).requires_grad_()
        s = part(log_probs, table=_table(log_probs), keys=keys_of(log_probs))
        a = part.attention(s, live)
        demand(not a.any(), "a weight without anybody to hear")
        _demand_finite_gradients(part, a, log_probs)


@line("similarity")
def identical_rows(case: Case) -> None:
    """Where all paths expect the same, gradients are finite, also at tokens without probability."""
    part, equal = _part(case), _log_probs()[:, :1].expand(-1, 5, -1)
    without = equal.clone()
    without[..., ::2] = float("-inf")
    for log_probs in (equal.clone(), without.log_softmax(-1)):
        log_probs.requires_grad_()
        s = part(log_probs, table=_table(log_probs), keys=keys_of(log_probs))
        demand(bool(s.isfinite().all()), "S is not finite")
        _demand_finite_gradients(part, s, log_probs)


@line("similarity")
def precision(case: Case) -> None:
    """bfloat16 and float16 inputs, and autocast, give float32's S of the same numbers, bit for bit; float64 stays."""
    part = _part(case)
    for dtype in (torch.bfloat16, torch.float16):
        narrow = _log_probs().to(dtype)
        expected = _similarity(part, narrow.float())
        demand(expected.dtype == torch.float32, f"S is {expected.dtype}")
        demand_equal(_similarity(part, narrow), expected, f"S of {dtype}")
        with torch.autocast("cpu", dtype):
            demand_equal(_similarity(part, narrow), expected, f"S of {dtype} under autocast")
    exact = _similarity(case.build(dtype=torch.float64).part, _log_probs().double())
    demand(exact.dtype == torch.float64, f"S of float64 is {exact.dtype}")


@line("similarity")
def constant_input(case: Case) -> None:
    """`similarity` sends gradients to the parameters and to nothing else, and leaves the random state alone."""
    part, log_probs = _part(case).train(), _log_probs().requires_grad_()
    table = _table(log_probs).requires_grad_()
    before = torch.get_rng_state()
    s = part.similarity(log_probs, table=table, keys=keys_of(log_probs))
    demand_equal(torch.get_rng_state(), before, "the global random state")
    parameters = dict(part.named_parameters())
    demand(s.requires_grad == bool(parameters), "S needs a gradient" if s.requires_grad else "S has no gradient")
    demand_equal(s.detach(), part(log_probs, table=table, keys=keys_of(log_probs)).detach(), "S of `similarity`")
    if parameters:
        (s * torch.randn(s.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
        for name, parameter in parameters.items():
            slope = parameter.grad
            demand(slope is not None and bool(slope.any()), f"no gradient reaches {name}")
    demand(log_probs.grad is None and table.grad is None, "a gradient reaches the input")


@line("similarity")
def begins_even(case: Case) -> None:
    """A similarity with parameters starts as peer mean: whom to hear has yet to be learned."""
    part: Similarity = case.fresh().part
    if list(part.parameters()):
        a = part.attention(_similarity(part, _log_probs()), torch.ones(2, 5, dtype=torch.bool))
        expected = (1 - torch.eye(5)).expand(2, 5, 5) / 4
        demand_close(a, expected, "A at the start", atol=ROUNDING)


def _part(case: Case) -> Similarity:
    part: Similarity = case.build().part
    return part


def _similarity(part: Similarity, log_probs: Tensor, keys: Tensor | None = None) -> Tensor:
    """S without a graph; keys by place unless given."""
    keys = keys_of(log_probs) if keys is None else keys
    return part.similarity(log_probs, table=_table(log_probs), keys=keys).detach()


def _table(log_probs: Tensor) -> Tensor:
    return table_of(SMALL, log_probs.float() if log_probs.dtype != torch.float64 else log_probs)


def _log_probs(groups: int = 2, paths: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(29)
    logits = 2 * torch.randn(groups, paths, SMALL.vocab_size, generator=generator)
    return logits.log_softmax(-1)


def _distributions() -> dict[str, Tensor]:
    """Groups of five distributions ``(2, 5, V)`` each, as different as they come."""
    base = _log_probs()
    certain = torch.full_like(base, float("-inf"))
    certain[:, torch.arange(5), torch.arange(5)] = 0.0
    return {
        "common": base,
        "flat": torch.zeros_like(base).log_softmax(-1),
        "peaked": (20 * base).log_softmax(-1),
        "equal": base[:, :1].expand(-1, 5, -1),
        "disjoint": certain,
        "filtered": base.masked_fill(base < base.median(), float("-inf")).log_softmax(-1),
    }


def _sharpened(part: Similarity) -> float:
    """What A may differ by where S differs by a rounding: the temperature divides it."""
    return ROUNDING * max(1.0, 1.0 / part.temperature.item())


def _demand_finite_gradients(part: Similarity, output: Tensor, *inputs: Any) -> None:
    if not output.requires_grad:
        return
    sought = [*inputs, *part.parameters()]
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(5), dtype=output.dtype)
    for slope in torch.autograd.grad((output * weights).sum(), sought, allow_unused=True):
        demand(slope is None or bool(slope.isfinite().all()), "a gradient is not finite")
