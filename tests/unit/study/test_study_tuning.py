"""Learning rates that are chosen for each arm before it is judged."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil
import pytest
from bench import TUNED, Bench, wait_until

from gatewright.config import from_yaml
from gatewright.errors import UserError
from gatewright.find import planned_trials
from gatewright.study.analysis import analyse
from gatewright.study.contents import report_contents
from gatewright.study.plan import Arm, Study, load_study
from gatewright.study.progress import trial_rows
from gatewright.study.report import render, write_report
from gatewright.study.schedule import Schedule
from gatewright.study.trial import Trial
from gatewright.study.trials import make_plan, trials_of
from gatewright.study.tuning import rung_sizes


def rate_of(bench: Bench, arm: str, seed: int) -> float:
    return from_yaml((bench.folder.run(Trial(arm, seed)) / "config.yaml").read_text()).train.learning_rate


def test_each_arm_is_judged_with_the_rate_that_suits_it(bench: Bench) -> None:
    analysis, printed = bench.run(TUNED)
    assert {arm: choice.learning_rate for arm, choice in analysis.choices.items()} == {"base": 1e-3, "late": 1e-2}
    assert [rate_of(bench, "base", seed) for seed in TUNED.seeds] == [1e-3] * 3
    assert [rate_of(bench, "late", seed) for seed in TUNED.seeds] == [1e-2] * 3
    # at its own rate neither arm has an advantage; at 0.001 for both, late would be 0.1 worse
    assert analysis.comparisons[0].mean_difference == pytest.approx(0.0, abs=1e-12)
    starts = [line for line in printed.splitlines() if line.endswith(": started")]
    assert len(starts) == 12 + 6
    assert [r.code for r in analysis.remarks if r.code == "rate_edge"] == ["rate_edge"]
    edge = next(r.text for r in analysis.remarks if r.code == "rate_edge")
    assert edge.startswith("late was best at the highest learning rate of the grid, 0.01")
    note = next(r.text for r in analysis.remarks if r.code == "training")
    assert "train.learning_rate 0.01 against 0.001" in note
    results = json.loads(bench.results())
    assert results["learning_rates"]["late"]["chosen"] == 1e-2
    assert results["learning_rates"]["late"]["edge"] == "highest"
    assert results["learning_rates"]["base"]["edge"] is None
    assert set(results["learning_rates"]["base"]["means"]) == {"0.0001", "0.001", "0.01"}


def test_rates_can_be_multiples_of_each_arms_own(bench: Bench) -> None:
    arms = {"base": Arm(), "late": Arm(["train.learning_rate=2e-3"])}
    study = Study(
        "relative", "base", arms, [0, 1], base=["model=small"], learning_rates=["5x", "1x", "0.1x"], tuning_seeds=[7]
    )
    analysis, _ = bench.run(study)
    assert list(analysis.choices["base"].runs) == pytest.approx([1e-4, 1e-3, 5e-3])
    assert list(analysis.choices["late"].runs) == pytest.approx([2e-4, 2e-3, 1e-2])
    assert {arm: choice.learning_rate for arm, choice in analysis.choices.items()} == {"base": 1e-3, "late": 1e-2}
    assert rate_of(bench, "late", 1) == 1e-2
    assert bench.folder.run(Trial("late", 7, "0.1x")).name == "lr-0.1x-seed-7"
    assert set(planned_trials(bench.folder.path)) == {trial.name for trial in trials_of(study)}


def test_a_rate_that_diverges_on_one_seed_is_out_and_is_not_tried_again(bench: Bench) -> None:
    bench.behave({"late/lr-0.01-seed-8": "diverge"})
    analysis, _ = bench.run(TUNED)
    assert analysis.choices["late"].learning_rate == 1e-3
    assert rate_of(bench, "late", 0) == 1e-3
    assert any(
        r.code == "rate_lost" and "late diverged in tuning at learning rate 0.01" in r.text for r in analysis.remarks
    )
    bench.run(TUNED)
    assert len(bench.attempts("late", 8, 1e-2)) == 1


def test_an_arm_waits_for_a_failed_tuning_run_while_the_others_go_on(bench: Bench) -> None:
    bench.behave({"late/lr-0.01-seed-8": "crash"})
    analysis, _ = bench.run(TUNED)
    assert analysis.arms["base"].n == 3
    assert analysis.arms["late"].n == 0
    assert any(r.code == "tuning_failed" and "late/lr-0.01-seed-8" in r.text for r in analysis.remarks)
    bench.behave()
    analysis, _ = bench.run(TUNED)
    assert analysis.complete
    assert analysis.choices["late"].learning_rate == 1e-2


def test_an_arm_that_diverges_at_every_rate_has_no_runs(bench: Bench) -> None:
    bench.behave({f"late/lr-{rate:g}-seed-7": "diverge" for rate in TUNED.learning_rates})
    analysis, _ = bench.run(TUNED)
    assert analysis.arms["late"].n == 0
    assert any(r.code == "rate_diverged" for r in analysis.remarks)
    assert analysis.comparisons == []


def test_the_report_shows_the_grid(bench: Bench) -> None:
    analysis, _ = bench.run(TUNED)
    means = analysis.choices["late"].means
    page = write_report(bench.folder.path).read_text()
    assert "<h2>Learning rates</h2>" in page
    assert "a ring marks the rate the arm was given" in page
    text = (bench.folder.path / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| late |") and "**" in line)
    assert row == f"| late | {means[1e-4]:.4f} | {means[1e-3]:.4f} | **{means[1e-2]:.4f}** |"
    assert (bench.folder.figures / "learning_rates.pdf").stat().st_size > 1_000


def test_the_grid_of_a_study_that_has_begun_cannot_change(bench: Bench) -> None:
    bench.run(TUNED)
    wider = Study("tuned", "base", TUNED.arms, [0, 1, 2], base=["model=small"], learning_rates=[1e-3, 1e-2])
    with pytest.raises(UserError, match=r"learning_rates was \[0.0001, 0.001, 0.01\], is \[0.001, 0.01\]"):
        bench.run(wider)


HALVED = Study(
    "halved", "base", TUNED.arms, [0, 1], base=["model=small"], learning_rates=[1e-3, 1e-4, 1e-2],
    tuning_seeds=[7, 8], tuner="successive_halving",
)  # fmt: skip


def test_halving_gives_the_better_rates_more_seeds_and_chooses_as_the_grid_does(bench: Bench) -> None:
    analysis, printed = bench.run(HALVED)
    assert "10 trials to choose learning rates: 2 arms × 3 rates, the better half of them on 2 seeds" in printed
    assert {arm: choice.learning_rate for arm, choice in analysis.choices.items()} == {"base": 1e-3, "late": 1e-2}
    tried = {rate: len(runs) for rate, runs in analysis.choices["late"].runs.items()}
    assert tried == {1e-4: 1, 1e-3: 2, 1e-2: 2}
    assert bench.attempts("late", 8, 1e-4) == []
    recorded = json.loads(bench.results())
    assert recorded["tuner"] == "successive_halving"
    late = recorded["learning_rates"]["late"]
    assert late["rungs"] == [{"seeds": 1, "rates": [1e-4, 1e-3, 1e-2]}, {"seeds": 2, "rates": [1e-3, 1e-2]}]
    assert len(late["values"]["0.0001"]) == 1
    contents = report_contents(analysis)
    assert contents["rates"][1]["cells"][0]["mean"].endswith(" (1 of 2 seeds)")
    assert contents["halvings"] == "1 seed"
    assert "after 1 seed, the better half" in render("report.md.j2", contents | {"explorer": None}, {})
    rows = trial_rows(HALVED, bench.folder, [])
    assert len(rows) == 10 + 4  # what halving spared is not waited for
    assert {row.state for row in rows} == {"finished"}
    assert Schedule(make_plan(HALVED), bench.folder).left() == []


def test_a_rate_that_diverges_late_makes_room_for_the_next_best(bench: Bench) -> None:
    bench.behave({"base/lr-0.001-seed-8": "diverge"})
    analysis, _ = bench.run(HALVED)
    choice = analysis.choices["base"]
    assert {rate: len(runs) for rate, runs in choice.runs.items()} == {1e-4: 2, 1e-3: 2, 1e-2: 2}
    assert choice.learning_rate in (1e-4, 1e-2)
    assert choice.means[choice.learning_rate] == min(choice.means.values())
    assert 1e-3 not in choice.means


@pytest.mark.parametrize(
    ("rates", "seeds", "rungs"),
    [
        (3, 2, [(3, 1), (2, 2)]), (5, 4, [(5, 1), (3, 2), (2, 4)]), (8, 4, [(8, 1), (4, 2), (2, 4)]),
        (8, 2, [(8, 1), (4, 2)]), (4, 8, [(4, 4), (2, 8)]), (6, 3, [(6, 1), (3, 3)]),
    ],
)  # fmt: skip
def test_the_last_rung_has_every_seed(rates: int, seeds: int, rungs: list[tuple[int, int]]) -> None:
    study = Study(
        "x", "a", {"a": Arm(), "b": Arm()}, [0], learning_rates=[1e-3 * 2.0**i for i in range(rates)],
        tuning_seeds=list(range(100, 100 + seeds)), tuner="successive_halving",
    )  # fmt: skip
    assert rung_sizes(study) == rungs


def test_the_tuner_of_a_study_that_has_begun_cannot_change(bench: Bench) -> None:
    bench.folder.adopt(make_plan(HALVED))
    with pytest.raises(UserError, match="tuner was successive_halving, is grid"):
        bench.folder.adopt(make_plan(replace(HALVED, tuner="grid")))


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_a_study_killed_at_random_moments_comes_to_the_same_results(bench: Bench, tmp_path: Path, kills: int) -> None:
    (tmp_path / "whole").mkdir()
    whole = Bench(tmp_path / "whole")
    whole.run(TUNED)
    moments = random.Random(0)
    bench.behave({t.name: "slow" for t in trials_of(TUNED) if t.arm == "late"})
    for _ in range(kills):
        before = bench.starts(TUNED)
        study = bench.in_background("TUNED")
        wait_until(partial(went_on, bench, study, before))
        time.sleep(moments.uniform(0.0, 2.0))
        # as when the power fails: the study and its trials at once
        everyone = [psutil.Process(study.pid), *psutil.Process(study.pid).children(recursive=True)]
        for process in everyone:
            process.kill()
        study.wait()
    bench.behave()
    analysis, _ = bench.run(TUNED)
    assert analysis.complete
    assert bench.results() == whole.results()
    assert bench.starts(TUNED) > len(trials_of(TUNED)) + kills // 3  # it did hit running trials


def went_on(bench: Bench, study: subprocess.Popen, before: int) -> bool:
    return study.poll() is not None or bench.starts(TUNED) > before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rates": [1e-3]}, "two or more different ones are needed"),
        ({"learning_rates": [1e-3, 1e-3]}, "two or more different"),
        ({"learning_rates": [1e-3, -1e-3]}, "-0.001 is neither a positive number nor a multiple such as 0.5x"),
        ({"learning_rates": ["0x", "2x"]}, "0x is neither"),
        ({"learning_rates": ["2y", "2x"]}, "2y is neither"),
        ({"learning_rates": ["2x", 1e-3]}, "all numbers or all multiples"),
        ({"learning_rates": ["1x", "1.0x"]}, "two or more different"),
        ({"learning_rates": [1e-3, 2e-3], "tuning_seeds": [1]}, "tuning_seeds: 1 is also under seeds"),
        ({"learning_rates": [1e-3, 2e-3], "tuning_seeds": []}, "at least one is needed"),
        (
            {"learning_rates": [1e-3, 2e-3], "base": ["train.learning_rate=1"]},
            "base: 'train.learning_rate=1' cannot",
        ),
        ({"tuner": "successive_halving"}, "saves runs where there are three learning_rates and two tuning_seeds"),
        ({"tuner": "successive_halving", "learning_rates": [1e-3, 2e-3, 4e-3]}, "two tuning_seeds, or more"),
        ({"comparisons": [["a", "b", "a"]]}, "is not a pair"),
        ({"comparisons": [["a", "a"]]}, "is not a pair of different arms"),
        ({"comparisons": [["a", "bb"]]}, "'bb' is not an arm; did you mean 'b'"),
        ({"comparisons": [["a", "b"], ["b", "a"]]}, "compared more than once"),
    ],
)
def test_what_cannot_be_planned_is_said_at_once(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Study("x", "b", {"a": Arm(), "b": Arm()}, [0, 1], **options)


def test_the_study_file_keeps_rates_and_pairs(tmp_path: Path) -> None:
    study = Study(
        "x", "b", {"a": Arm(), "b": Arm(), "c": Arm()}, [0, 1], learning_rates=[1e-3, 2e-3], comparisons=[["a", "c"]]
    )
    file = tmp_path / "x.yaml"
    file.write_text(study.to_yaml())
    assert load_study(file) == study
    halved = replace(study, learning_rates=[1e-3, 2e-3, 3e-3], tuning_seeds=[7, 8], tuner="successive_halving")
    file.write_text(halved.to_yaml())
    assert load_study(file) == halved
    assert study.family == [("a", "c")]
    assert Study("x", "b", study.arms, [0]).family == [("a", "b"), ("c", "b")]


def test_pairs_other_than_with_the_baseline_are_judged(bench: Bench) -> None:
    arms = {"base": Arm(), "other": Arm(), "late": Arm()}
    study = Study("pairs", "base", arms, [0, 1, 2], base=["model=small"], comparisons=[["late", "other"]])
    bench.run(study)
    analysis = analyse(bench.folder.path)
    assert [(c.arm, c.baseline) for c in analysis.comparisons] == [("late", "other")]
    assert analysis.comparison("late") is None
    late, other = analysis.arms["late"], analysis.arms["other"]
    assert analysis.comparisons[0].mean_difference == pytest.approx(late.mean - other.mean)
    page = write_report(bench.folder.path).read_text()
    assert "late vs other" in page
    assert analysis.ranking[0].name == "base"
