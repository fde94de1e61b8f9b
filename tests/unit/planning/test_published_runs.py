"""Our predictions beside published trainings; the page says how far off they are, and no further may they be."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from published import COMPUTE, WHILE_RUNNING, WHOLE, Published

from gatewright.planning import LAWS, PlanRequest
from gatewright.planning.kinds import kinds

PAGE = Path(__file__).parents[3] / "docs" / "planning.md"


def ratio(run: Published) -> float:
    """Predicted over published time; for speeds and FLOPs likewise, so that above one means: we expect more time."""
    ours = run.predicted() / run.value
    return 1 / ours if "per_second" in run.quantity else ours


def on_the_page(run: Published) -> float:
    """The ratio that docs/planning.md states in the row of this run."""
    unit = {"days": "days", "gpu_hours": "GPU-hours", "flops": "FLOPs", "step": "ms a step"}
    what = unit.get(run.quantity.rpartition(".")[2], "tokens/s a GPU")
    rows = [row for row in PAGE.read_text().splitlines() if row.startswith(f"| {run.name} |") and what in row]
    assert len(rows) == 1, (run.name, what)
    return float(rows[0].split("|")[4])


@pytest.mark.parametrize("run", WHILE_RUNNING, ids=lambda run: run.name)
def test_speeds_are_within_a_fifth(run: Published) -> None:
    found = ratio(run)
    assert 0.8 < found < 1.2
    assert found == pytest.approx(on_the_page(run), abs=0.006)


@pytest.mark.parametrize("run", WHOLE, ids=lambda run: run.name)
def test_whole_trainings_took_up_to_two_and_a_half_times_as_long(run: Published) -> None:
    found = ratio(run)
    assert 0.39 < found < 1.2
    assert found == pytest.approx(on_the_page(run), abs=0.006)


@pytest.mark.parametrize("run", COMPUTE, ids=lambda run: run.name)
def test_flops_are_a_little_more_because_attention_counts(run: Published) -> None:
    found = ratio(run)
    assert 1 < found < 1.1
    assert found == pytest.approx(on_the_page(run), abs=0.006)


def test_every_key_stands_on_the_page() -> None:
    text = PAGE.read_text()
    assert not [field.name for field in dataclasses.fields(PlanRequest) if f"`{field.name}`" not in text]


def test_the_coefficients_stand_on_the_page() -> None:
    text = PAGE.read_text()
    for law in LAWS:
        assert f"| `{law.name}` | {law.E} | {law.A} | {law.B} | {law.alpha} | {law.beta} |" in text


def test_the_shares_that_were_measured_stand_on_the_page() -> None:
    text = PAGE.read_text()
    for kind in kinds().values():
        assert f"`{kind.kind}`" in text
        if kind.sustained:
            (rows,) = re.findall(r"median of (\d+) ", kind.measured)
            assert f"| `{kind.kind}` | {kind.sustained:.1%} | {rows} |" in text
