"""The contract of similarities finds what it is there to find."""

from __future__ import annotations

import copy

import broken_similarities as broken
import pytest

from gatewright import registry
from gatewright.contract import BrokenLineError, cases, lines, verify
from gatewright.registry import register


@pytest.fixture(autouse=True)
def scratch_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    registry.entries("similarity")
    monkeypatch.setattr(registry, "_entries", copy.deepcopy(registry._entries))
    monkeypatch.setattr(registry, "_aliases", copy.deepcopy(registry._aliases))


def broken_lines(target: type) -> set[str]:
    """The quick lines that ``target`` breaks."""
    register("similarity", target.__name__)(target)
    case = next(iter(cases(registry.find("similarity", target.__name__))))
    found = set()
    for line in lines("similarity"):
        if not line.slow:
            try:
                line(case)
            except BrokenLineError:
                found.add(line.name)
    return found


def test_a_sound_similarity_breaks_nothing() -> None:
    assert broken_lines(broken.Overlap) == set()


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (broken.Lopsided, "symmetric"),
        (broken.OutOfBounds, "bounded"),
        (broken.ZeroTimesInfinity, "bounded"),
        (broken.FirstIsSpecial, "equivariant"),
        (broken.AcrossQuestions, "apart"),
        (broken.ZeroForTheDead, "masked"),
        (broken.MinusInfinityForAll, "alone"),
        (broken.NaNBehindWhere, "alone"),
        (broken.RootOfZero, "identical rows"),
        (broken.Narrow, "precision"),
        (broken.Autocasting, "precision"),
        (broken.Leaking, "constant input"),
        (broken.Drawing, "constant input"),
        (broken.Biased, "begins even"),
        (broken.Deaf, "constant input"),
    ],
)
def test_the_line_that_is_broken_says_so(target: type, line: str) -> None:
    assert line in broken_lines(target)


def test_one_fault_breaks_one_line() -> None:
    assert broken_lines(broken.OutOfBounds) == {"bounded"}
    assert broken_lines(broken.Leaking) == {"constant input"}
    assert broken_lines(broken.Biased) == {"begins even"}


def test_a_similarity_is_not_put_into_a_model() -> None:
    quick = [line for line in lines("similarity") if not line.slow]
    verdicts = {verdict.line.name: verdict for verdict in verify(registry.find("similarity", "peer_mean"))}
    assert {line.name for line in quick} <= set(verdicts)
    assert "causal" not in verdicts
    assert "onnx" not in verdicts
    assert all(verdict.error is None and verdict.cases == 1 for verdict in verdicts.values())
