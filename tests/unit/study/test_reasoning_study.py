"""Studies of reinforcement learning: curves by step, convergence and listening in numbers, controls, and the report."""

from __future__ import annotations

import base64
import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_reasoning import (
    HEARD,
    STEPS,
    finished_reasoning,
    reasoning_config,
    reasoning_study,
    write_arm,
    write_reasoning_run,
)
from synthetic_study import SyntheticStudy, finish, plain_config, three_arms, write_run
from test_study_report import Page

from gatewright.config import Config
from gatewright.run import Run
from gatewright.study import analyse, series, write_report
from gatewright.study import report as report_module
from gatewright.study.analysis import Analysis
from gatewright.study.compare import collect_runs, compare_runs
from gatewright.study.convergence import largest_drop, second_half, steps_to, threshold
from gatewright.study.drawing import arm_dashes
from gatewright.study.explorer import explorer_data
from gatewright.study.plots import FIGURES
from gatewright.study.series import Curves
from gatewright.study.style import ARM_COLOURS, NARROW, WIDE, colours, house_style
from gatewright.study.trial import Trial


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """A finished study of three arms."""
    return analyse(finished_reasoning(tmp_path_factory.mktemp("reasoning") / "study").folder.path)


@pytest.fixture(scope="module")
def report(analysis: Analysis) -> Path:
    """Its report."""
    return write_report(analysis.folder.path)


@pytest.fixture
def few_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """One figure is enough where the test is about the text."""
    monkeypatch.setattr(report_module, "FIGURES", {"paths": FIGURES["paths"]})


def said(analysis: Analysis, level: str) -> dict[str, str]:
    return {remark.code: remark.text for remark in analysis.remarks if remark.level == level}


def test_curves_are_aligned_by_step_where_tokens_differ(analysis: Analysis, tmp_path: Path) -> None:
    arm = analysis.arms["jsd"]
    assert len({t.summary["tokens"] for t in arm.trials}) == 3
    assert not series.evaluations(arm, "val_accuracy", "tokens").values[:, 1:].size  # they share the start alone
    by_step = series.evaluations(arm, "val_accuracy", analysis.axis)
    assert by_step.x.tolist() == [0, 10, 20, 30, 40]
    np.testing.assert_allclose(by_step.values[:, -1], [0.82, 0.83, 0.84])
    assert series.training(arm, "reward", analysis.axis).x.tolist() == list(range(1, STEPS + 1))
    text = analyse(finish(SyntheticStudy(tmp_path / "text", three_arms())).folder.path)
    assert (text.axis, analysis.axis) == ("tokens", "step")
    assert (text.rewarded, analysis.rewarded) == (False, True)


def test_differences_are_in_percent_or_in_points() -> None:
    ours = Curves(np.array([0.0, 10.0, 20.0]), [0, 1], np.array([[0.1, 0.3, 0.5], [0.2, 0.4, 0.6]]))
    theirs = Curves(np.array([0.0, 10.0, 20.0]), [1, 0], np.array([[0.2, 0.0, 0.3], [0.1, 0.2, 0.4]]))
    percent, points = ours.against(theirs), ours.against(theirs, relative=False)
    assert percent.x.tolist() == [0, 20]  # there is no percentage of nothing
    np.testing.assert_allclose(percent.values, [[0, 25], [0, 100]], atol=1e-9)
    np.testing.assert_allclose(points.values, [[0, 10, 10], [0, 40, 30]], atol=1e-9)


@pytest.mark.parametrize(
    ("curve", "limit", "sign", "expected"),
    [
        ([(0, 0.4), (10, 0.7), (20, 0.8)], 0.7, 1, 10),
        ([(0, 0.4), (10, 0.8), (20, 0.6)], 0.75, 1, 10),  # it need not stay there
        ([(0, 0.4), (10, 0.6)], 0.7, 1, None),
        ([(0, 0.9), (10, 0.8)], 0.7, 1, 0),
        ([(0, 7.0), (10, 4.0), (20, 3.0)], 3.5, -1, 20),
    ],
)
def test_steps_to_a_threshold(curve: list[tuple[int, float]], limit: float, sign: int, expected: int | None) -> None:
    assert steps_to(curve, limit, sign) == expected


def test_the_threshold_is_nine_tenths_of_the_baselines_way() -> None:
    runs = [[(0, 0.4), (10, 0.9), (20, 0.8)], [(0, 0.5), (10, 0.1), (20, 0.9)]]
    assert threshold(runs, 1) == pytest.approx(0.45 + 0.9 * 0.4)
    assert threshold(runs, -1) is None  # a loss that rises
    assert threshold([[(0, 7.0), (20, 3.0)]], -1) == pytest.approx(3.4)
    assert threshold([], 1) is None


@pytest.mark.parametrize(
    ("values", "sign", "expected"),
    [
        ([0.4, 0.8, 0.5, 0.9, 0.7], 1, 0.3),
        ([0.4, 0.5, 0.6], 1, 0),
        ([0.4, 0.1], 1, 0.3),
        ([7.0, 3.0, 3.5, 2.0], -1, 0.5),
    ],
)
def test_the_largest_drop_is_from_the_best_until_then(values: list[float], sign: int, expected: float) -> None:
    assert largest_drop(list(enumerate(values)), sign) == pytest.approx(expected)


def test_means_are_over_the_second_half_of_training() -> None:
    records: list[dict[str, Any]] = [{"step": step, "x": step} for step in range(1, 11)]
    assert second_half(records, "x") == 8
    assert second_half([*records[:8], {"step": 9, "x": None}, {"step": 10}], "x") == 7
    assert second_half(records, "y") is None
    assert second_half([], "x") is None


def test_courses_are_in_the_results(report: Path) -> None:
    results = json.loads((report.parent / "results.json").read_text())
    assert [c["arm"] for c in results["comparisons"]] == ["random", "jsd"]
    found = results["listening"]
    assert found["threshold"] == pytest.approx(0.4 + 0.9 * 0.41)
    jsd, none, random = found["arms"]  # by rank
    assert [jsd["arm"], none["arm"], random["arm"]] == ["jsd", "none", "random"]
    assert (jsd["start"], jsd["steps"], jsd["reached"], jsd["seeds"]) == (pytest.approx(0.4), 20, 3, 3)
    assert (none["steps"], random["steps"]) == (40, 40)
    assert (none["final"], none["sd"]) == (pytest.approx(0.81), pytest.approx(0.01))
    assert (jsd["effective_peers"], jsd["blend_divergence"]) == (3.0, pytest.approx(2e-4))
    assert (none["effective_peers"], none["blend_divergence"], none["listening_share"]) == (5.0, None, 0.0)
    assert jsd["zero_variance"] == 0.25
    assert jsd["largest_drop"] == 0


@pytest.mark.usefixtures("few_figures")
def test_collapses_and_a_baseline_that_does_not_improve(tmp_path: Path) -> None:
    study = reasoning_study(tmp_path / "study", {"none": reasoning_config(), "jsd": reasoning_config("jsd")})
    write_arm(study, "none", [(0.4, 0.5, 0.3), (0.4, 0.3, 0.5), (0.4, 0.4, 0.4)])
    write_arm(study, "jsd", [(0.4, 0.9, 0.1), (0.4, 0.5, 0.39), (0.4, 0.4, 0.4)], listening=HEARD)
    found = analyse(study.folder.path).courses
    assert found is not None
    assert found.threshold is None
    by_arm = {course.arm: course for course in found.arms}
    assert by_arm["jsd"].fell_below_start == [0, 1]
    assert by_arm["jsd"].largest_drop == pytest.approx(0.8)
    assert by_arm["none"].fell_below_start == [0]
    assert (by_arm["jsd"].steps, by_arm["jsd"].reached) == (None, 0)
    text = Page(write_report(study.folder.path).read_text()).text
    assert "did not improve on its start, so there is no threshold to reach. The" in text


def test_the_report_is_one_of_tasks_and_steps(report: Path) -> None:
    page = Page(report.read_text())
    markdown = (report.parent / "report.md").read_text()
    for expected in ("40 steps of 8 questions × 8 paths a run", "Convergence, stability and listening",
                     "Steps to 0.7690", "Best greedy accuracy"):  # fmt: skip
        assert expected in page.text, expected
    for expected in ("16,384 questions to learn from, 500 held out (0.00 % of them in training questions)",):
        assert expected in page.text
        assert expected in markdown
    assert "training tokens" not in page.text.replace('"training tokens"', "")
    assert "validation loss" not in page.text.lower()
    jsd = next(line for line in markdown.splitlines() if line.startswith("| jsd | 0.4000"))
    cells = [cell.strip() for cell in jsd.strip("|").split("|")]
    assert cells == ["jsd", "0.4000", "0.8300 ± 0.0100", "20 (3 of 3)", "0 of 3", "0.0000", "3.00", "6.0 %", "0.00020",
                     "25.0 %"]  # fmt: skip
    none = next(line for line in markdown.splitlines() if line.startswith("| none | 0.4000"))
    assert "(5.00)" in none, "nobody listens there"
    drawn = {path.stem for path in (report.parent / "figures").glob("*.png")}
    assert drawn == {"differences", "seeds", "learning", "training_reward", "listening", "paths"}
    assert page.tags.count("source") == len(drawn)
    for address in page.addresses:
        ElementTree.fromstring(base64.b64decode(address.partition("base64,")[2]))


def test_the_explorer_goes_by_steps_and_rewards(analysis: Analysis) -> None:
    data = explorer_data(analysis)
    assert data is not None
    assert data["axis"] == {"label": "steps", "before": "step ", "after": ""}
    labels = [quantity["label"] for quantity in data["quantities"]]
    assert labels[:3] == [
        "Greedy accuracy",
        "Greedy accuracy: difference from none, points",
        "Reward in training, smoothed",
    ]
    difference = {line["name"]: line for line in data["quantities"][1]["lines"]}["jsd"]
    assert difference["x"] == [0, 10, 20, 30, 40]
    assert [seed[-1] for seed in difference["values"]] == pytest.approx([2, 2, 2])
    assert all(quantity["settled"] == 0 for quantity in data["quantities"]), "the start belongs to the picture"


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)
def test_listening_has_a_panel_for_each_quantity(analysis: Analysis, layout: Any) -> None:
    with house_style():
        figure = FIGURES["listening"][0](analysis, layout)
    assert figure is not None
    figure.draw_without_rendering()
    assert len(figure.axes) == 4
    peers = {line.get_color(): line.get_ydata() for line in figure.axes[1].get_lines() if len(line.get_ydata())}
    colour = colours(list(analysis.arms), "none")
    assert peers[colour["jsd"]][-1] == pytest.approx(3.0)
    assert len([line for line in figure.axes[3].get_lines() if len(line.get_ydata())]) == 2, "none hears nobody"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["none", "random", "jsd"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"steps"}


def test_sixteen_arms_can_be_told_apart(tmp_path: Path) -> None:
    names = ["none", *(f"arm-{i}" for i in range(15))]
    study = reasoning_study(tmp_path / "study", {name: reasoning_config() for name in names}, seeds=1)
    for i, name in enumerate(names):
        write_arm(study, name, [(0.4, 0.5 + i / 100)], listening=HEARD | {"gate.effective_peers": 1 + i})
    many = analyse(study.folder.path)
    with house_style():
        figure, learning = (FIGURES[name][0](many, WIDE) for name in ("listening", "learning"))
    assert figure is not None
    assert learning is not None
    looks = {
        (line.get_color(), str(line.get_linestyle()), str(line._dash_pattern)) for line in figure.axes[1].lines[:16]
    }
    assert len(looks) == 16
    assert learning.get_figheight() > 3.0
    dashes = arm_dashes(names, "none")
    assert list(dashes) == [f"arm-{i}" for i in range(len(ARM_COLOURS), 15)]


def test_shuffled_rewards_do_not_flatten_the_others(tmp_path: Path) -> None:
    arms = {
        "none": reasoning_config(),
        "jsd": reasoning_config("jsd"),
        "shuffled": reasoning_config(shuffle_rewards=True),
    }
    study = reasoning_study(tmp_path / "study", arms)
    write_arm(study, "none", [(0.6, 0.7, 0.80 + seed / 100) for seed in range(3)])
    write_arm(study, "jsd", [(0.6, 0.75, 0.82 + seed / 80) for seed in range(3)], listening=HEARD)
    write_arm(study, "shuffled", [(0.6, 0.2, 0.05)] * 3)
    found = analyse(study.folder.path)
    with house_style():
        learning, seeds, forest = (FIGURES[name][0](found, WIDE) for name in ("learning", "seeds", "differences"))
    assert learning is not None
    assert seeds is not None
    assert forest is not None
    assert 0.55 < learning.axes[0].get_ylim()[0] < 0.6
    assert 0.7 < seeds.axes[0].get_ylim()[0] < 0.8
    assert "↓ 0.0500" in [text.get_text() for text in seeds.axes[0].texts]
    assert forest.axes[0].get_xlim()[0] > -10
    assert explorer_data(found)["aside"] == ["shuffled"]
    assert "no_shuffled_rewards" not in said(found, "note")


def test_unequal_tokens_are_no_fault_and_controls_are_asked_for(analysis: Analysis) -> None:
    assert said(analysis, "warning") == {}
    notes = said(analysis, "note")
    assert "rl.shuffle_rewards=true" in notes["no_shuffled_rewards"]
    assert "same 500 held-out questions" in notes["evaluation"]
    assert "standard error of 1.8 points" in notes["evaluation"]  # sqrt(0.79 · 0.21 / 500)


def test_what_makes_runs_of_a_task_unequal(tmp_path: Path) -> None:
    arms = {"few": reasoning_config("jsd", paths=4), "many": reasoning_config("jsd", paths=8)}
    arms["many"].task = {"name": "chain_sum", "terms": 3}
    study = reasoning_study(tmp_path / "study", arms, seeds=2)
    write_arm(study, "few", [(0.4, 0.5), (0.4, 0.6)], listening=HEARD)
    write_arm(study, "many", [(0.4, 0.5), (0.4, 0.6)], listening=HEARD, environment={"validation": {"questions": 99}})
    found = analyse(study.folder.path)
    warnings = [remark.text for remark in found.remarks if remark.level == "warning"]
    for expected in ("rl.paths is 8 against 4", "differ in the task: task.name is chain_sum",
                     "judged on unequal questions: 99 and 500", "Paths listen in every arm"):  # fmt: skip
        assert any(expected in text for text in warnings), expected


def test_runs_of_a_task_are_compared_by_accuracy_unless_asked(tmp_path: Path) -> None:
    for name, seed in (("none", 0), ("none", 1), ("jsd", 0), ("jsd", 1)):
        config = reasoning_config(name)
        config.train.seed = seed
        write_reasoning_run(tmp_path / name / f"{seed}", config, (0.4, 0.5 + seed / 10))
    compared = compare_runs(collect_runs([tmp_path / "none", tmp_path / "jsd"]))
    assert compared.analysis.study.metric == "val_accuracy"
    assert compared.to_dict()["listening"]["arms"][0]["start"] == pytest.approx(0.4)
    asked = compare_runs(collect_runs([tmp_path]), metric="val_accuracy_sampled")
    assert asked.analysis.study.metric == "val_accuracy_sampled"
    write_run(tmp_path / "text", plain_config(seed=2), 3.5)
    assert (
        compare_runs([*collect_runs([tmp_path / "none"]), Run(tmp_path / "text")]).analysis.study.metric == "val_loss"
    )


def test_demonstrations_are_judged_by_loss_and_aligned_by_step(tmp_path: Path) -> None:
    config: Config = plain_config()
    config.task = {"name": "chain_sum", "terms": 3}
    arms = dict.fromkeys(("gelu", "worse", "same"), config)
    study = finish(SyntheticStudy(tmp_path / "study", three_arms(), arms))
    for trial in study.plan.trials:
        file = study.folder.run(trial) / "summary.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"tokens": 1_000_000 + trial.seed}))
    found = analyse(study.folder.path)
    assert (found.axis, found.rewarded, found.courses) == ("step", False, None)
    assert "tokens" not in said(found, "warning")
    assert "listening" not in found.to_dict()


@pytest.mark.usefixtures("few_figures")
def test_a_report_can_be_written_before_there_is_a_run(tmp_path: Path) -> None:
    study = reasoning_study(tmp_path / "study", {"none": reasoning_config(), "jsd": reasoning_config("jsd")})
    assert "Nothing can be compared yet." in Page(write_report(study.folder.path).read_text()).text
    write_arm(study, "jsd", [(0.4, 0.5)], listening=HEARD)
    assert "is not finished (waiting)" in Page(write_report(study.folder.path).read_text()).text
    assert not (study.folder.run(Trial("jsd", 0)) / "listening.json").exists()
