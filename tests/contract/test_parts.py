"""Every registered part keeps every line of the contract. A new file that registers itself is tested with no edit here."""

from __future__ import annotations

import pytest
import torch
from registered import MODULES, PARTS, all_cases, fewer_cases, name_of

from gatewright.config import ModelConfig
from gatewright.contract import Case, Line, lines
from gatewright.contract.exporting import onnx_parity
from gatewright.contract.subject import SUBJECTS
from gatewright.model import build
from gatewright.registry import KINDS, Entry

QUICK = [(line, entry) for entry in PARTS for line in lines(entry.kind) if not line.slow]
SLOW = {line.name: line for entry in MODULES for line in lines(entry.kind) if line.slow}


def test_every_kind_has_a_way_to_be_checked() -> None:
    assert set(SUBJECTS) | {"init"} == set(KINDS)
    assert all(lines(kind) for kind in KINDS)


@pytest.mark.parametrize(("line", "entry"), [pytest.param(x, e, id=f"{name_of(e)}-{x.name}") for x, e in QUICK])
def test_part(line: Line, entry: Entry) -> None:
    for case in all_cases(entry):
        line(case)


@pytest.mark.parametrize("entry", MODULES, ids=name_of)
def test_compiled(entry: Entry) -> None:
    for case in fewer_cases(entry):
        SLOW["compiled"](case)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "init"])
def test_onnx(kind: str) -> None:
    """All parts of a kind in one graph, because starting an export takes longer than any part; alone if that fails."""
    several = [case for entry in MODULES if entry.kind == kind for case in fewer_cases(entry)]
    try:
        onnx_parity(several)
    except Exception:
        for case in several:
            SLOW["onnx"](case)
        raise


def test_every_slow_line_is_run() -> None:
    assert set(SLOW) == {"compiled", "onnx"}


def test_inductor_agrees_with_eager() -> None:
    """The default backend generates and compiles code, some ten seconds a graph: once, for a model with many parts."""
    config = ModelConfig(
        n_layer=1, n_head=4, kv_heads=2, n_embd=32, block_size=16, vocab_size=61, norm="rmsnorm", activation=None,
        position="rope", feedforward="pagelu", alpha="learnable", bias=False, init="fan_in",
    )  # fmt: skip
    model = build(config)
    ids = torch.arange(32).view(2, 16)
    compiled = torch.compile(model, fullgraph=True)
    found, expected = [], []
    for module, results in ((compiled, found), (model, expected)):
        out = module(ids, labels=ids)
        slopes = torch.autograd.grad(out.loss, list(model.parameters()))
        results += [out.logits, out.loss, *slopes]
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_case_says_what_it_is() -> None:
    entry = next(entry for entry in PARTS if entry.name == "rope")
    assert str(Case(entry, {"fraction": 0.5})) == "position 'rope' with fraction=0.5"
