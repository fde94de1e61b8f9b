"""Lines about what a part shows to the outside: its documentation, its knobs, its shapes."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import torch
from torch import Tensor

from gatewright.contract.case import SMALL, SURROUNDINGS, Case
from gatewright.contract.line import demand, demand_equal, line
from gatewright.errors import UserError
from gatewright.parts.part import Dims
from gatewright.registry import KINDS
from gatewright.schema import check_value

OTHER = Dims(
    n_embd=20, n_head=3, kv_heads=1, head_dim=8, block_size=9, n_layer=3, layer=0, bias=False, width=28, vocab_size=31
)
"""Dimensions in which no two sizes agree that need not."""

UNNAMED = {"attention", "init", "similarity"}
"""Kinds without a word in an architecture's name (attention: only where it computes something else)."""

SIZED_BY_WIDTH = {"norm", "activation", "gate", "alpha"}
"""Kinds that stand inside a block, where the signal need not have the model's width."""


@line(*KINDS)
def documented(case: Case) -> None:
    """The class has a docstring whose first line says what it is, and a label where one belongs into names."""
    demand(inspect.getdoc(case.entry.target) not in (None, inspect.getdoc(object)), "no docstring")
    own = case.entry.target.__doc__
    demand(bool(own and own.strip()), "no docstring of its own (the base class's is no help)")
    demand(len(case.entry.summary) >= 5, f"the first line of the docstring says nothing: {case.entry.summary!r}")
    if case.entry.kind not in UNNAMED:
        label = case.part().label
        demand(isinstance(label, str) and label.strip() == label != "", f"label={label!r} is not a word for a name")


@line(*KINDS)
def typed_knobs(case: Case) -> None:
    """Every knob is annotated and has a default of its type (or is offered by the model), and refuses another type."""
    hints = get_type_hints(case.entry.target.__init__)
    for name, knob in case.entry.knobs().items():
        demand(name in hints, f"knob {name} has no type")
        if knob.default is inspect.Parameter.empty:
            demand(name in SURROUNDINGS, f"knob {name} has no default")
        else:
            check_value(name, knob.default, hints[name])
        if hints[name] is not Any:
            _demand_refusal(case, {name: object()}, name)
    _demand_refusal(case, {"no_such_knob": 1}, "no_such_knob")


@line()
def shapes(case: Case) -> None:
    """The output has the shape and the type of the (first) input, for any batch and length, one included."""
    for dtype in (torch.float32, torch.float64):
        subject = case.build(dtype=dtype)
        for batch, tokens in ((2, 5), (1, 1), (3, SMALL.block_size)):
            inputs = case.inputs(batch=batch, tokens=tokens, dtype=dtype)
            before = [x.clone() for x in inputs]
            _demand_like(subject(*inputs), inputs[0])
            for x, copy in zip(inputs, before, strict=True):
                demand_equal(x, copy, "the input was changed in place")


@line()
def dimensions(case: Case) -> None:
    """The part works at other dimensions, and without biases where the model has none."""
    inside = case.entry.kind in SIZED_BY_WIDTH and not getattr(case.part(), "square", False)
    dims = OTHER if inside else OTHER.at(width=OTHER.n_embd)
    subject = case.build(dims)
    inputs = case.inputs(dims, tokens=dims.block_size)
    _demand_like(subject(*inputs), inputs[0])
    for name, module in subject.named_modules():
        biased = type(module) is torch.nn.Linear and module.bias is not None
        demand(not biased, f"{name} has a bias although dims.bias is false")


def _demand_like(found: Tensor, expected: Tensor) -> None:
    demand(isinstance(found, Tensor), f"returned {type(found).__name__}, not a tensor")
    demand(found.shape == expected.shape, f"shape {tuple(found.shape)} instead of {tuple(expected.shape)}")
    demand(found.dtype == expected.dtype, f"type {found.dtype} instead of {expected.dtype}")


def _demand_refusal(case: Case, knobs: dict[str, Any], name: str) -> None:
    try:
        Case(case.entry, knobs).part()
    except UserError as error:
        demand(name in str(error), f"the error for a wrong {name} does not name it: {error}")
        demand("\n" not in str(error), f"the error for a wrong {name} takes more than one line")
    else:
        raise AssertionError(f"a wrong {name} was accepted")
