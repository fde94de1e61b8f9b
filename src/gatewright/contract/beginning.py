"""Lines about the state a part starts in, and the difference between training and evaluation."""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.contract.case import Case, start
from gatewright.contract.line import demand, demand_equal, line
from gatewright.contract.subject import Subject

GARBAGE = 7.0


@line()
def starting_values(case: Case) -> None:
    """Initialisation (``reset`` for what the part holds itself) restores every parameter and buffer, from any state."""
    subject = case.fresh()
    expected = _state(subject)
    for value in (GARBAGE, float("nan")):
        with torch.no_grad():
            for tensor in (*subject.parameters(), *subject.buffers()):
                tensor.fill_(value if tensor.is_floating_point() else int(GARBAGE))
        start(subject)
        _demand_same(subject, expected, "after initialisation over garbage")


@line()
def no_hidden_randomness(case: Case) -> None:
    """Starting values depend on nothing but names and seed: not on the global random state, which stays untouched."""
    expected = _state(case.fresh())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    subject = case.fresh()
    demand_equal(torch.get_rng_state(), before, "the global random state")
    _demand_same(subject, expected, "built under another global seed")


@line()
def modes(case: Case) -> None:
    """Evaluation repeats itself; training differs from it only where the part has dropout or its own reason to."""
    subject, inputs = case.build(), case.inputs()
    expected = subject(*inputs)
    demand_equal(subject(*inputs), expected, "second evaluation")
    subject.train()
    demand_equal(subject(*inputs), expected, "training without dropout")
    subject.eval()
    demand_equal(subject(*inputs), expected, "evaluation after training")
    if "dropout" not in case.entry.knobs():
        return
    dropping = case.build(dropout=0.5)
    demand_equal(dropping(*inputs), expected, "evaluation of a part with dropout")
    dropping.train()
    torch.manual_seed(0)
    first = dropping(*inputs)
    demand(not torch.equal(first, expected), "dropout=0.5 drops nothing in training")
    demand(not torch.equal(dropping(*inputs), first), "dropout drops the same entries each time")
    torch.manual_seed(0)
    demand_equal(dropping(*inputs), first, "dropout under the same seed")


def _state(subject: Subject) -> dict[str, Tensor]:
    named = (*subject.named_parameters(), *subject.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in named}


def _demand_same(subject: Subject, expected: dict[str, Tensor], when: str) -> None:
    for name, tensor in _state(subject).items():
        demand_equal(tensor, expected[name], f"{name} {when}")
