"""The line about ONNX."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from itertools import accumulate, pairwise

import torch
from torch import Tensor, nn

from gatewright.contract.case import Case
from gatewright.contract.line import UncheckedError, demand_close, line
from gatewright.contract.subject import Subject
from gatewright.registry import KINDS

NEVER_EXPORTED = ("init", "similarity")
"""Kinds that no exported model contains: paths listen to one another in rollouts, which are a program."""


@line(*(kind for kind in KINDS if kind not in NEVER_EXPORTED), slow=True)
def onnx(case: Case) -> None:
    """torch.onnx.export (dynamo) takes the part, and onnxruntime agrees at another batch size and length."""
    onnx_parity([case])


def onnx_parity(several: Sequence[Case]) -> None:
    """Demand ONNX parity of several parts at once, side by side in one graph: an export is slow mostly in starting."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise UncheckedError(f"the package {package} is not installed")
    subjects = [case.build() for case in several]
    module = _SideBySide(subjects).eval()
    example = [x for case in several for x in case.inputs()]
    dynamic = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens")}
    program = torch.onnx.export(
        module, (example,), dynamo=True, dynamic_shapes=([dynamic] * len(example),), verbose=False
    )
    assert program is not None
    inputs = [x for case in several for x in case.inputs(batch=3, tokens=7)]
    with torch.no_grad():
        expected = module(inputs)
    for case, ours, theirs in zip(several, expected, program(inputs), strict=True):
        demand_close(theirs, ours, f"onnxruntime's output of {case}", atol=2e-5, rtol=1e-5)


class _SideBySide(nn.Module):
    """Several subjects in one graph, each with inputs of its own out of one list."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        super().__init__()
        self.subjects = nn.ModuleList(subjects)
        ends = accumulate((len(subject.widths(subject.dims)) for subject in subjects), initial=0)
        self.slices = [slice(*pair) for pair in pairwise(ends)]

    def forward(self, inputs: list[Tensor]) -> list[Tensor]:
        return [subject(*inputs[part]) for subject, part in zip(self.subjects, self.slices, strict=True)]
