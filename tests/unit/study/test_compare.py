"""Comparing loose runs: which are one arm, what arms are called, what is compared, and what is said about it."""

from __future__ import annotations

import io
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from synthetic_study import BASELINE_LOSSES, SyntheticStudy, finish, plain_config, three_arms, write_run

from gatewright.config import Config, to_yaml
from gatewright.errors import RunError, UserError
from gatewright.run import Run
from gatewright.study import analyse, compare_paired
from gatewright.study.compare import RunComparison, collect_runs, compare_runs, newest_runs
from gatewright.study.group import arm_names, group_runs
from gatewright.study.ranking import ranking

RATES = {0.001: [3.50, 3.52, 3.55], 0.003: [3.60, 3.63, 3.64]}


def make_run(folder: Path, name: str, final: float, architecture: str | None = None, **train: Any) -> Path:
    """A finished run; ``architecture`` replaces the synthetic one."""
    details = {key: train.pop(key) for key in ("status", "error", "parameters", "environment") if key in train}
    write_run(folder / name, plain_config(**train), final, **details)
    if architecture is not None:
        file = folder / name / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"architecture": architecture}))
    return folder / name


@pytest.fixture
def rates(tmp_path: Path) -> Path:
    """Six runs: two learning rates, three seeds."""
    for rate, losses in RATES.items():
        for seed, loss in enumerate(losses):
            make_run(tmp_path / "runs", f"lr{rate:g}-{seed}", loss, learning_rate=rate, seed=seed)
    return tmp_path / "runs"


def designs() -> dict[str, Config]:
    """Configurations of the synthetic study in which the arms do differ."""
    configs = {arm: plain_config() for arm in ("gelu", "worse", "same")}
    configs["worse"].model.feedforward = "pagelu"
    configs["same"].model.init = "fan_in"
    return configs


@pytest.fixture
def study_folder(tmp_path: Path) -> Path:
    """A finished study of three arms and four seeds."""
    return finish(SyntheticStudy(tmp_path / "demo", three_arms(), designs())).folder.path


def shown(compared: RunComparison, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(ranking(compared, width), highlight=False)
    return console.export_text()


def words(compared: RunComparison) -> str:
    return " ".join(shown(compared).split())


def test_runs_of_one_design_are_one_arm_and_seeds_are_paired(rates: Path) -> None:
    analysis = compare_runs(collect_runs([rates])).analysis
    (found,) = analysis.comparisons
    expected = compare_paired(RATES[0.003], RATES[0.001], margin=0.005 * sum(RATES[0.001]) / 3)
    assert (found.arm, found.baseline, found.n) == ("learning_rate=0.003", "learning_rate=0.001", 3)
    assert found.mean_difference == pytest.approx(expected.mean_difference)
    assert found.p_value == pytest.approx(expected.p_value)
    assert found.p_equivalence == pytest.approx(expected.p_equivalence)
    assert found.verdict == "worse"
    assert [arm.name for arm in analysis.ranking] == ["learning_rate=0.001", "learning_rate=0.003"]


def test_a_study_gives_the_verdicts_of_its_report(study_folder: Path) -> None:
    compared = compare_runs(collect_runs([study_folder]))
    assert compared.because == "the study's baseline"
    by_arm = {c["arm"]: c for c in compared.to_dict()["comparisons"]}
    assert by_arm == {c["arm"]: c for c in analyse(study_folder).to_dict()["comparisons"]}
    assert [arm.name for arm in compared.analysis.ranking] == [arm.name for arm in analyse(study_folder).ranking]
    part = compare_runs([run for run in collect_runs([study_folder]) if "same" not in str(run.path)])
    assert [c.arm for c in part.analysis.comparisons] == ["worse"]


def test_seeds_that_were_added_by_looking_are_judged_as_such(tmp_path: Path) -> None:
    """In the study's order of seeds, also where runs from elsewhere stand beside those of the study."""
    study = SyntheticStudy(tmp_path / "demo", replace(three_arms(), seeds=[2, 0, 1, 3], sequential=True), designs())
    folder = finish(study).folder.path
    by_arm = {c["arm"]: c for c in analyse(folder).to_dict()["comparisons"]}
    assert {c.arm: c.to_dict() for c in compare_runs(collect_runs([folder])).analysis.comparisons} == by_arm
    beside = make_run(tmp_path, "other", 3.5)
    mixed = compare_runs(collect_runs([folder / "runs/gelu", folder / "runs/worse", beside]))
    assert (
        mixed.analysis.comparison("worse").p_value
        > compare_paired(
            [*mixed.analysis.arms["worse"].values.values()], [*mixed.analysis.baseline.values.values()]
        ).p_value
    )


def test_the_runs_that_chose_learning_rates_are_not_compared(study_folder: Path) -> None:
    tuning = study_folder / "runs/gelu/lr-0.01-seed-1000"
    write_run(tuning, plain_config(learning_rate=0.01, seed=1000), 3.0)
    assert len(collect_runs([study_folder])) == 12
    assert [run.path for run in collect_runs([tuning])] == [tuning]


def test_the_family_is_corrected_as_one(tmp_path: Path) -> None:
    losses = {0.001: [3.50, 3.52, 3.55], 0.002: [3.53, 3.54, 3.585], 0.003: [3.52, 3.53, 3.57]}
    for rate, values in losses.items():
        for seed, loss in enumerate(values):
            make_run(tmp_path, f"{rate}-{seed}", loss, learning_rate=rate, seed=seed)
    comparisons = compare_runs(collect_runs([tmp_path])).analysis.comparisons
    alone = sorted(c.p_value for c in comparisons if c.p_value is not None)
    assert sorted(c.p_adjusted for c in comparisons if c.p_adjusted is not None) == pytest.approx(
        [2 * alone[0], max(2 * alone[0], alone[1])]
    )


NAMES = {
    "architecture": ([("gpt2", {}), ("llama", {"learning_rate": 0.1})], ["gpt2", "llama"]),
    "settings alone": (
        [("gpt2", {}), ("gpt2", {"learning_rate": 0.1})],
        ["learning_rate=0.001", "learning_rate=0.1"],
    ),
    "settings where names clash": (
        [("gpt2", {}), ("gpt2", {"learning_rate": 0.1}), ("llama", {"beta1": 0.8})],
        ["gpt2 learning_rate=0.001", "gpt2 learning_rate=0.1", "llama"],
    ),
    "as few settings as will do": (
        [("gpt2", {}), ("gpt2", {"learning_rate": 0.1, "weight_decay": 0.5, "beta2": 0.9})],
        ["learning_rate=0.001", "learning_rate=0.1"],
    ),
    "more settings where one will not do": (
        [("gpt2", {}), ("gpt2", {"learning_rate": 0.1}), ("gpt2", {"learning_rate": 0.1, "beta2": 0.9})],
        ["learning_rate=0.001, beta2=0.95", "learning_rate=0.1, beta2=0.95", "learning_rate=0.1, beta2=0.9"],
    ),
}


@pytest.mark.parametrize("case", NAMES)
def test_an_arm_is_named_by_what_distinguishes_it(tmp_path: Path, case: str) -> None:
    runs, expected = NAMES[case]
    for number, (architecture, train) in enumerate(runs):
        make_run(tmp_path, f"{number}", 3.5, architecture, **train)
    groups, _ = group_runs(collect_runs([tmp_path]))
    assert arm_names(groups) == expected


def test_arms_of_two_studies_with_one_name_are_told_apart(tmp_path: Path) -> None:
    for name, rate in (("first", 0.001), ("second", 0.003)):
        configs = designs()
        for config in configs.values():
            config.train.learning_rate = rate
        SyntheticStudy(tmp_path / name, three_arms(), configs).run("gelu", 0, 3.5)
    assert set(compare_runs(collect_runs([tmp_path])).analysis.arms) == {"first/gelu", "second/gelu"}


def test_one_design_in_two_studies_is_one_arm(tmp_path: Path) -> None:
    for seed, name in enumerate(("first", "second")):
        SyntheticStudy(tmp_path / name, three_arms(), designs()).run("gelu", seed, 3.5)
    (arm,) = compare_runs(collect_runs([tmp_path])).analysis.arms.values()
    assert (arm.name, arm.n) == ("gelu", 2)


def test_the_first_run_makes_the_baseline_unless_one_is_asked_for(rates: Path) -> None:
    slow, fast = rates / "lr0.003-1", rates / "lr0.001-1"
    assert compare_runs(collect_runs([slow, rates])).analysis.baseline.name == "learning_rate=0.003"
    for asked in ("learning_rate=0.003", str(slow), os.path.relpath(slow)):
        compared = compare_runs(collect_runs([rates]), baseline=asked)
        assert (compared.analysis.baseline.name, compared.because) == ("learning_rate=0.003", "as asked")
    with pytest.raises(UserError, match=r"did you mean 'learning_rate=0.003'"):
        compare_runs(collect_runs([rates]), baseline="learning_rate=0.03")
    (fast / "summary.json").write_text(json.dumps({"status": "failed", "error": "no more"}))
    compared = compare_runs(collect_runs([fast, slow]))
    assert (compared.analysis.baseline.values, compared.because) == ({1: 3.63}, "the arm of the first run")


def test_a_repeated_run_counts_once(rates: Path) -> None:
    again = make_run(rates, "z-again", 9.9, learning_rate=0.001, seed=0)
    os.utime(again / "config.yaml", (1, 1))
    compared = compare_runs(collect_runs([rates]))
    assert compared.analysis.baseline.values[0] == 3.50
    assert [path for path, _ in compared.left_out] == [again]
    assert f"left out: {again}" in shown(compared, 400)
    newer = json.dumps({"time": "2099-01-01T00:00:00+00:00"})
    (again / "environment.json").write_text(newer)
    assert compare_runs(collect_runs([rates])).analysis.baseline.values[0] == 9.9
    (again / "summary.json").write_text(json.dumps({"status": "running"}))
    assert compare_runs(collect_runs([rates])).analysis.baseline.values[0] == 3.50


def test_runs_without_a_result_are_named_and_left_out(tmp_path: Path) -> None:
    for seed in range(2):
        make_run(tmp_path, f"good-{seed}", 3.5 + seed, seed=seed)
    make_run(tmp_path, "failed", 3.5, seed=2, status="failed", error="disk full")
    make_run(tmp_path, "diverged", 3.5, seed=3, status="diverged", error="the loss became nan")
    make_run(tmp_path, "running", 3.5, seed=4, status="running")
    broken = make_run(tmp_path, "broken", 3.5, seed=5)
    (broken / "config.yaml").write_text("train: {seeed: 5}\n")
    compared = compare_runs(collect_runs([tmp_path]))
    (arm,) = compared.analysis.arms.values()
    assert (arm.n, arm.mean) == (2, 4.0)
    said = words(compared)
    for expected in ("seed 2 failed: disk full", "seed 3 diverged: the loss became nan", "seed 4 is not finished"):
        assert expected in said
    assert [(path, "seeed" in why) for path, why in compared.left_out] == [(broken, True)]


def test_the_checks_of_reports_are_made(tmp_path: Path) -> None:
    make_run(tmp_path, "a", 3.5, "a")
    make_run(
        tmp_path, "b", 3.4, "b", parameters=1_020_000, batch_size=16, precision="bf16", eval_tokens=1_024,
        environment={"data": {"content_sha256": "other"}},
    )  # fmt: skip
    compared = compare_runs(collect_runs([tmp_path]))
    codes = {remark.code for remark in compared.analysis.remarks if remark.level == "warning"}
    assert codes >= {"parameters", "conditions", "tokens", "data", "few_seeds"}
    said = words(compared)
    assert "! +2.0 %" in said
    assert "b differs from a in train.batch_size=16, train.precision=bf16, train.eval_tokens=1024" in said
    for key in ("train.precision is bf16", "train.eval_tokens is 1024", "the effective batch"):
        assert key in said


def test_one_seed_gives_no_verdict_and_no_common_seed_no_comparison(tmp_path: Path) -> None:
    make_run(tmp_path, "a", 3.5, "a")
    make_run(tmp_path, "b", 3.4, "b", learning_rate=0.002)
    make_run(tmp_path, "c", 3.3, "c", learning_rate=0.003, seed=9)
    compared = compare_runs(collect_runs([tmp_path]))
    (found,) = compared.analysis.comparisons
    assert (found.arm, found.verdict, found.p_value) == ("b", "none", None)
    assert compared.analysis.unpaired["c", "a"] == [0, 9]
    assert "c and a have no seed in common" in words(compared)


def test_one_run_is_shown_and_said_to_be_alone(tmp_path: Path) -> None:
    compared = compare_runs([Run(make_run(tmp_path, "a", 3.5))])
    assert compared.analysis.comparisons == []
    said = words(compared)
    assert "3.5000" in said
    assert "nothing to compare it with" in said


def test_metric_and_margin_are_the_studys_unless_asked_for(study_folder: Path, rates: Path) -> None:
    assert compare_runs(collect_runs([study_folder])).analysis.study.equivalence_margin == 0.01
    assert compare_runs(collect_runs([study_folder]), margin=0.002).analysis.study.equivalence_margin == 0.002
    assert compare_runs(collect_runs([rates])).analysis.study.equivalence_margin == 0.005
    accuracy = compare_runs(collect_runs([study_folder]), metric="val_token_accuracy").analysis
    assert accuracy.baseline.values[0] == pytest.approx(1 / BASELINE_LOSSES[0])
    assert accuracy.comparison("worse").verdict == "worse"
    for asked in ({"metric": "val_los"}, {"margin": 0.0}, {"margin": 1.5}):
        with pytest.raises(UserError):
            compare_runs(collect_runs([rates]), **asked)


def test_the_newest_runs_are_those_started_last(tmp_path: Path) -> None:
    for name, hour in (("a", 3), ("b", 1), ("c", 2), ("d", 0)):
        make_run(tmp_path, name, 3.5, seed=hour, environment={"time": f"2026-01-01T0{hour}:00:00+00:00"})
    assert [run.name for run in newest_runs(tmp_path, 3)] == ["b", "c", "a"]
    assert len(newest_runs(tmp_path, 9)) == 4


def test_runs_started_within_one_second_are_told_apart(tmp_path: Path) -> None:
    for seed, (name, moment) in enumerate((("a", 100.3), ("b", 100.1), ("c", 100.2))):
        make_run(tmp_path, name, 3.5, seed=seed, environment={"time": "2026-01-01T00:00:00+00:00"})
        os.utime(tmp_path / name / "config.yaml", (moment, moment))
    assert [run.name for run in newest_runs(tmp_path, 2)] == ["c", "a"]


def test_folders_are_searched_each_run_once_and_emptiness_is_a_mistake(rates: Path, tmp_path: Path) -> None:
    (rates / "lr0.001-0/checkpoints/step-5").mkdir(parents=True)
    (rates / "lr0.001-0/checkpoints/step-5/config.yaml").write_text(to_yaml(plain_config()))
    assert len(collect_runs([rates, rates / "lr0.001-0", tmp_path])) == 6
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(place)):
            collect_runs([rates, place])


def test_what_is_written_is_what_was_found(rates: Path, tmp_path: Path) -> None:
    compared = compare_runs(collect_runs([rates]))
    first, second = tmp_path / "new/out.json", tmp_path / "new/out.csv"
    compared.write(first, second)
    written = json.loads(first.read_text())
    assert written["comparisons"] == [c.to_dict() for c in compared.analysis.comparisons]
    assert [arm["arm"] for arm in written["arms"]] == ["learning_rate=0.001", "learning_rate=0.003"]
    assert written["arms"][1]["overrides"] == ["train.learning_rate=0.003"]
    assert {run["path"] for run in written["runs"]} == {str(path) for path in rates.iterdir()}
    table = pd.read_csv(second)
    assert list(table["arm"]) == ["learning_rate=0.001", "learning_rate=0.003"]
    assert table["mean"][1] == pytest.approx(sum(RATES[0.003]) / 3)
    first.write_text("something older")
    compared.write(first)
    assert json.loads(first.read_text()) == written
    assert sorted(path.name for path in first.parent.iterdir()) == ["out.csv", "out.json"]
    with pytest.raises(UserError, match="is a folder"):
        compared.write(tmp_path)
    with pytest.raises(RunError, match="cannot write"):
        compared.write(Path(os.devnull) / "out.json")


@pytest.mark.parametrize("width", [80, 140])
def test_the_table_fits_and_holds_all_columns(study_folder: Path, width: int) -> None:
    text = shown(compare_runs(collect_runs([study_folder])), width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    for column in ("arm", "n", "validation loss", "parameters", "FLOPs/token", "tok/s", "against baseline", "verdict"):
        assert column in flat
    order = [line.split()[0] for line in text.splitlines() if line.startswith(("gelu ", "same ", "worse "))]
    assert order[:3] == ["gelu", "same", "worse"]
    assert "3.6798 ± 0.0078" in flat
    assert "baseline: gelu (the study's baseline)" in flat
