"""What is said about a study before it runs, and studies that are cut down to a budget."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from bench import STUDY, TUNED, Bench, fake_command
from rich.console import Console

from gatewright.errors import UserError
from gatewright.study import preview as preview_module
from gatewright.study.board import describe_plan
from gatewright.study.budget import SHARE
from gatewright.study.plan import Study
from gatewright.study.preview import preview_study
from gatewright.study.timing import Timing
from gatewright.study.trials import Plan

STARTUP, STEP = 10.0, 0.1


@pytest.fixture(autouse=True)
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Plan]:
    """Every design takes ten seconds to start and a tenth of a second a step; returns what was measured."""
    plans: list[Plan] = []

    def measure(plan: Plan, workers: int, threads: int, **_: object) -> dict[str, Timing]:
        plans.append(plan)
        return dict.fromkeys(plan.configs, Timing(STARTUP, STEP, 0.0, "2026-11-22"))

    monkeypatch.setattr(preview_module, "measure", measure)
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(tmp_path / "cache"))
    return plans


def text_of(study: Study, out: Path, **options: object) -> str:
    preview = preview_study(study, out, 1, prepare=lambda config: None, **options)
    console = Console(file=io.StringIO(), width=200)
    console.print(describe_plan(preview.plan, preview.lines))
    return console.file.getvalue()


def test_time_and_power_are_stated_before_anything_runs(tmp_path: Path) -> None:
    text = text_of(replace(STUDY, noise=0.003), tmp_path / "out")
    assert "about 11 min, 1 at a time (measured here, 2026-11-22)" in text  # 6 × (10 s + 1,000 × 0.1 s)
    # three seeds see 3.264 standard deviations: statsmodels' TTestPower().solve_power(nobs=3, power=0.8)
    assert "3 seeds can show differences from 0.98 % with 80 % power" in text
    assert not (tmp_path / "out").exists()


def test_runs_that_choose_learning_rates_are_counted(tmp_path: Path) -> None:
    text = text_of(TUNED, tmp_path / "out")
    assert "12 trials to choose learning rates: 2 arms × 3 rates × 2 seeds; then 6 trials: 2 arms × 3 seeds" in text
    assert "about 33 min" in text  # 18 × 110 s
    assert "18.4 M training tokens" in text  # 18 runs × 1,000 steps × 8 sequences × 128 tokens


def test_earlier_studies_beside_say_what_the_noise_is(bench: Bench) -> None:
    bench.run(STUDY)
    text = text_of(STUDY, bench.folder.path.parent / "next")
    assert "the earlier study study in" in text or "no earlier study" not in text
    assert "can show differences from" in text


def test_a_study_that_is_half_done_takes_the_rest_of_its_time(bench: Bench) -> None:
    bench.behave(other_2="crash", base_2="crash")
    bench.run(STUDY)
    assert "about 4 min for the 2 runs that are left" in text_of(STUDY, bench.folder.path)  # 2 × 110 s
    bench.behave()
    bench.run(STUDY)
    assert "every run is finished" in text_of(STUDY, bench.folder.path)


def test_a_budget_shortens_the_runs_and_stays_when_the_study_goes_on(bench: Bench, measured: list[Plan]) -> None:
    console = Console(file=io.StringIO(), width=200)
    options = {"command": fake_command, "prepare": lambda config: None, "console": console}
    from gatewright.study.runner import run_study

    budget = 6 * (STARTUP + 500 * STEP) / SHARE + 1
    analysis = run_study(STUDY, bench.folder.path, 1, budget=budget, **options)
    steps = {design["train.max_steps"] for design in analysis.designs.values()}
    assert steps == {500}
    assert analysis.complete
    said = console.file.getvalue()
    assert "all 3 seeds and 500 of 1,000 steps" in said
    assert len(measured) == 1

    again = run_study(STUDY, bench.folder.path, 1, budget=budget / 2, **options)
    assert again.designs == analysis.designs
    assert "goes on as it was begun; the budget does not change it" in console.file.getvalue()


def test_a_budget_is_not_silently_ignored(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave out --no-measure"):
        text_of(STUDY, tmp_path / "out", budget=60.0, measured=False)
    with pytest.raises(UserError, match="too short"):
        text_of(STUDY, tmp_path / "out", budget=10.0)
