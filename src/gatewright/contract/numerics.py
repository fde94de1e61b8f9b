"""Lines about what a part computes: gradients, precision, extremes, its reference implementation."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import functional_call

from gatewright.contract.case import Case
from gatewright.contract.line import demand, demand_close, line, relative_error
from gatewright.contract.subject import Subject

BF16_ROUNDING = 2.0**-8
"""Relative size of one rounding to bfloat16 (8 significant bits)."""


@line()
def differentiable(case: Case) -> None:
    """Gradients with respect to inputs and parameters are those of finite differences, in float64."""
    subject = case.build(dtype=torch.float64)
    inputs = [x.requires_grad_() for x in case.inputs(dtype=torch.float64)]
    names, parameters = zip(*subject.named_parameters(), strict=True) if list(subject.parameters()) else ((), ())

    def run(*tensors: Tensor) -> Tensor:
        given = dict(zip(names, tensors[len(inputs) :], strict=True))
        return functional_call(subject, given, tensors[: len(inputs)])

    # fast_mode compares along random directions, so that it does not run twice for every single number
    torch.autograd.gradcheck(run, (*inputs, *parameters), fast_mode=True)


@line()
def half_precision(case: Case) -> None:
    """In bfloat16, output and gradients are finite and near those of float32, also under autocast.

    Weights and inputs are rounded to bfloat16 in both computations, so that only arithmetic differs. Each operation
    rounds by at most 2⁻⁸ of its result, and a part is a chain of some ten whose errors add up in the mean square: four
    roundings' worth, in norm, leaves room for the longest chain and none for a wrong formula; twice that for gradients,
    whose chain is twice as long. Gradients are compared as one long vector: one that is a sum of many terms of both
    signs (a slope shared by all tokens, a key bias that softmax cannot see) errs by the size of its terms, not its own.
    """
    wide = case.build().to(torch.bfloat16).float()
    inputs = [x.bfloat16().float() for x in case.inputs()]
    y, gradients = _with_gradients(wide, inputs)
    narrow, narrow_gradients = _with_gradients(case.build().to(torch.bfloat16), [x.bfloat16() for x in inputs])
    with torch.autocast("cpu", torch.bfloat16):
        mixed, mixed_gradients = _with_gradients(wide, inputs)
    demand(narrow.dtype == torch.bfloat16, f"a bfloat16 input gives {narrow.dtype}")
    for how, found, slopes in (("bfloat16", narrow, narrow_gradients), ("autocast", mixed, mixed_gradients)):
        _demand_near(found, y, f"output in {how}", 4)
        for name, slope in slopes.items():
            demand(bool(slope.isfinite().all()), f"gradient of {name} in {how} is not finite")
        _demand_near(_joined(slopes), _joined(gradients), f"gradient in {how}", 8)


@line()
def stable(case: Case) -> None:
    """Zeros, very small and very large inputs give finite outputs and finite gradients."""
    for scale in (0.0, 1e-20, 1e4):
        subject = case.build()
        y, gradients = _with_gradients(subject, [scale * x for x in case.inputs()])
        demand(bool(y.isfinite().all()), f"output not finite for inputs of size {scale:g}")
        for name, gradient in gradients.items():
            demand(bool(gradient.isfinite().all()), f"gradient of {name} not finite for inputs of size {scale:g}")


@line()
def reference(case: Case) -> None:
    """Where a part has a plain ``reference`` implementation, both agree: output and gradients, in float64."""
    subject = case.build(dtype=torch.float64)
    if not hasattr(subject.part, "reference"):
        return
    inputs = list(case.inputs(dtype=torch.float64))
    y, gradients = _with_gradients(subject, inputs)
    plain, plain_gradients = _with_gradients(subject, inputs, subject.part.reference)
    demand_close(y, plain, "output", atol=1e-12, rtol=1e-12)
    for name, gradient in gradients.items():
        demand_close(gradient, plain_gradients[name], f"gradient of {name}", atol=1e-10, rtol=1e-10)


def _with_gradients(
    subject: Subject, inputs: list[Tensor], function: object = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Output, and gradients of a fixed random sum of it by every input and parameter."""
    leaves = [x.detach().clone().requires_grad_() for x in inputs]
    y = subject(*leaves) if function is None else subject.apply_to(function, *leaves)  # type: ignore[arg-type]
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    sought = {f"input {i}": x for i, x in enumerate(leaves)} | dict(subject.named_parameters())
    found = torch.autograd.grad((y.double() * weights).sum(), list(sought.values()), allow_unused=True)
    return y, {name: slope for name, slope in zip(sought, found, strict=True) if slope is not None}


def _joined(gradients: dict[str, Tensor]) -> Tensor:
    return torch.cat([gradient.flatten().double() for gradient in gradients.values()])


def _demand_near(found: Tensor, expected: Tensor, what: str, roundings: int) -> None:
    demand(bool(found.isfinite().all()), f"{what} is not finite")
    error = relative_error(found, expected)
    limit = roundings * BF16_ROUNDING
    demand(error <= limit, f"{what} is {error:.2%} away from float32; {limit:.2%} is allowed")
