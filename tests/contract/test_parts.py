"""Every registered part keeps every line of the contract. A new file that registers itself needs no edit here."""

from __future__ import annotations

import pytest
from registered import PARTS, all_cases, graph_cases, name_of

from gatewright.contract import Case, Line, lines
from gatewright.contract.exporting import NEVER_EXPORTED, onnx_parity
from gatewright.contract.subject import SUBJECTS
from gatewright.contract.transport import compare_compiled
from gatewright.registry import KINDS, Entry, find

QUICK = [(line, entry) for entry in PARTS for line in lines(entry.kind) if not line.slow]
SLOW = {line.name: line for kind in KINDS for line in lines(kind) if line.slow}
MODULES = [entry for entry in PARTS if entry.kind != "init" and graph_cases(entry)]


def test_every_kind_has_a_way_to_be_checked() -> None:
    assert set(SUBJECTS) | {"init"} == set(KINDS)
    assert all(lines(kind) for kind in KINDS)


@pytest.mark.parametrize(("line", "entry"), [pytest.param(x, e, id=f"{name_of(e)}-{x.name}") for x, e in QUICK])
def test_part(line: Line, entry: Entry) -> None:
    for case in all_cases(entry):
        line(case)


@pytest.mark.parametrize("entry", MODULES, ids=name_of)
def test_compiled(entry: Entry) -> None:
    for case in graph_cases(entry):
        SLOW["compiled"](case)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NEVER_EXPORTED])
def test_onnx(kind: str) -> None:
    """All parts of a kind in one graph, because starting an export takes longer than any part; alone if that fails."""
    several = [case for entry in MODULES if entry.kind == kind for case in graph_cases(entry)]
    try:
        onnx_parity(several)
    except Exception:
        for case in several:
            SLOW["onnx"](case)
        raise


def test_every_slow_line_is_run() -> None:
    assert set(SLOW) == {"compiled", "onnx"}


@pytest.mark.parametrize(
    ("kind", "name", "knobs"),
    [("norm", "rmsnorm", {}), ("feedforward", "pagelu", {"alpha": "learnable"})],
)
def test_inductor_agrees_with_eager(kind: str, name: str, knobs: dict[str, str]) -> None:
    """The default backend generates C++ and compiles it, ten seconds a graph: a reduction and a gated block do."""
    compare_compiled(Case(find(kind, name), knobs), "inductor")


def test_a_case_says_what_it_is() -> None:
    entry = next(entry for entry in PARTS if entry.name == "rope")
    assert str(Case(entry, {"fraction": 0.5})) == "position 'rope' with fraction=0.5"
