"""Deliberately broken gates: each fault is named, with the line of the contract, the case, and what was seen."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from gate_files import LINE_OF_OUTPUT
from rich.console import Console

from gatewright.contract import MODEL, lines
from gatewright.tryout.contract_check import check_contract
from gatewright.tryout.try_part import load_part, try_part

MakeGate = Callable[..., Path]


def check(path: Path) -> tuple[dict[str, str], str]:
    """What was seen, by line, and everything that was printed."""
    printed = io.StringIO()
    plugin, entry = load_part(path)
    faults = check_contract(entry, plugin, Console(file=printed, width=160))
    return {fault.line: f"{fault.case}: {fault.seen}" for fault in faults}, printed.getvalue()


@pytest.mark.usefixtures("without_onnx")
def test_a_sound_gate_keeps_every_line(gate: MakeGate) -> None:
    faults, printed = check(gate())
    assert faults == {}
    count = len(lines("gate")) + len(lines(MODEL))
    assert f"gate 'mine' keeps all {count} lines of its contract" in printed
    assert len(re.findall(r"^✓ .+\d\.\d s$", printed, re.MULTILINE)) == count


@pytest.mark.usefixtures("without_onnx")
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"cost": "Cost(7)"},
            {
                "cost": "^gate 'mine': states 7 parameters, has 16$",
                "cost, in models": r"^gate 'mine' in a model: states \d+ parameters, has \d+$",
            },
        ),
        (
            {"cost": "Cost(self.slope.numel(), flops=2 * tokens)"},
            {
                "cost": "^gate 'mine': states 2 FLOPs for a sequence of 1; 1 of them count 0$",
                "cost, in models": r"^gate 'mine' in a model: states \d+ FLOPs, \d+ are counted$",
            },
        ),
        (
            {"output": "value * self.slope * gate.square().sum(-1, keepdim=True).sqrt()"},
            {"stable": "^gate 'mine': gradient of input 1 not finite for inputs of size 0$"},
        ),
        (
            {"output": "value * self.slope * gate if self.slope.sum() > 0 else value"},
            {"compiled": rf"data-dependent branching.* \[mine.py, line {LINE_OF_OUTPUT}\]$"},
        ),
        (
            {"more": "def get_extra_state(self) -> dict[str, int]:\n        return {'calls': 3}"},
            {"saved": "^gate 'mine': .*'calls'|^gate 'mine': AttributeError: 'dict'", "saved, in models": "'dict'"},
        ),
        ({"output": "value * self.slope.sigmoid()"}, {"trainable, in models": "gate_proj.weight gets no gradient$"}),
        ({"output": "self.slope * gate"}, {"trainable, in models": "up_proj.weight gets no gradient$"}),
        (
            {"knobs": ", *, slopes=1.0"},
            {"typed knobs": "^gate 'mine': knob slopes has no type$"},
        ),
    ],
    ids=["parameters", "flops", "nan", "graph", "extra state", "deaf", "mute", "untyped"],
)
def test_a_fault_is_named(changes: dict[str, str], expected: dict[str, str], gate: MakeGate) -> None:
    faults, printed = check(gate(**changes))
    assert set(expected) <= set(faults)
    assert faults.keys() - expected.keys() <= ALSO_BROKEN
    for line, said in expected.items():
        assert re.search(said, faults[line]), faults[line]
        assert re.search(rf"^✗ {line} ", printed, re.MULTILINE)
    assert f"gate 'mine' breaks {len(faults)} of" in printed
    summary = " ".join(printed.partition("breaks")[2].split())
    for line in faults:
        assert line in summary


ALSO_BROKEN = {"cost, in models", "half precision, in models", "saved, in models", "copied"}
"""What a gate that branches on values, or keeps other state, breaks by the way."""


def test_the_account_of_an_exporter_is_cut_to_the_reason_and_the_place(gate: MakeGate) -> None:
    faults, printed = check(gate(output="value * self.slope * gate if gate.sum() > 0 else value"))
    assert re.search(rf"data-dependent expression .* \[mine.py, line {LINE_OF_OUTPUT}\]$", faults["onnx"])
    assert "Next steps" not in printed
    assert "\x1b" not in faults["onnx"]


@pytest.mark.usefixtures("without_onnx")
def test_one_reason_for_many_lines_is_given_once(gate: MakeGate) -> None:
    faults, printed = check(gate(output="value * self.solpe"))
    assert len(faults) > 10
    assert printed.count("object has no attribute 'solpe'") == 2  # where it is met first, and in the summary
    assert "as above" in printed


def test_a_constructor_that_fails_on_its_own_knobs(gate: MakeGate) -> None:
    path = gate(knobs=", *, form: str = 'own'", set_up="{'own': 1}[form]")
    line = path.read_text().splitlines().index("        {'own': 1}[form]") + 1
    faults, _ = check(path)
    assert f"gate 'mine' with form=gate: KeyError: 'gate' [mine.py, line {line}]" in faults.values()


@pytest.mark.usefixtures("without_onnx")
def test_a_gate_that_breaks_its_contract_is_not_trained(gate: MakeGate, here: Path) -> None:
    printed = io.StringIO()
    assert try_part(gate(cost="Cost(7)"), console=Console(file=printed, width=160)) is False
    assert "gate 'mine': states 7 parameters, has 16" in printed.getvalue()
    assert "One block of" not in printed.getvalue()
    assert not (here / "runs").exists()
