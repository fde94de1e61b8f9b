"""What is concluded from a folder of runs: pairing, verdicts, ranking, warnings, and the files that hold them."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable

import pandas as pd
import pytest
from rich.console import Console
from synthetic_study import BASELINE_LOSSES, ENVIRONMENT, SyntheticStudy, plain_config

from gatewright.errors import UserError
from gatewright.files import write_atomic
from gatewright.study import analyse, status
from gatewright.study.analysis import Analysis
from gatewright.study.board import study_seconds_left, trial_table
from gatewright.study.progress import Progress, TrialRow
from gatewright.study.statistics import compare_paired, holm
from gatewright.study.trial import Trial


def codes(analysis: Analysis, level: str = "warning") -> set[str]:
    return {remark.code for remark in analysis.remarks if remark.level == level}


def test_a_finished_study_is_paired_by_seed_and_corrected_as_a_family(study: SyntheticStudy) -> None:
    analysis = analyse(study.folder.path)
    assert {c.arm: c.verdict for c in analysis.comparisons} == {"worse": "worse", "same": "equivalent"}
    worse = analysis.comparison("worse")
    alone = compare_paired(
        [loss * (1.02 + 0.001 * (seed % 2)) for seed, loss in enumerate(BASELINE_LOSSES)], BASELINE_LOSSES
    )
    assert worse.p_value == pytest.approx(alone.p_value)
    assert worse.ci95 == pytest.approx(alone.ci95)
    assert [c.p_adjusted for c in analysis.comparisons] == pytest.approx(
        list(holm([c.p_value for c in analysis.comparisons]))
    )
    assert worse.margin == pytest.approx(0.01 * sum(BASELINE_LOSSES) / 4)
    assert analysis.complete
    assert codes(analysis) == set()
    assert [arm.name for arm in analysis.ranking][-1] == "worse"


def test_results_json_holds_the_promised_fields_and_nothing_that_varies(study: SyntheticStudy) -> None:
    analyse(study.folder.path).write()
    first = (study.folder.path / "results.json").read_bytes()
    results = json.loads(first)
    assert [c["arm"] for c in results["comparisons"]] == ["worse", "same"]
    for comparison in results["comparisons"]:
        assert list(comparison) == [
            "arm", "baseline", "metric", "n", "mean_difference", "ci95", "p_value", "p_adjusted", "effect_size",
            "verdict", "parameters", "baseline_parameters",
        ]  # fmt: skip
        assert len(comparison["ci95"]) == 2
    for text in ("tokens_per_second", "seconds", str(study.folder.path)):
        assert text.encode() not in first, "speeds, times and places differ between equal studies"
    analyse(study.folder.path).write()
    assert (study.folder.path / "results.json").read_bytes() == first


def test_results_csv_is_the_ranking(study: SyntheticStudy) -> None:
    analysis = analyse(study.folder.path)
    analysis.write()
    table = pd.read_csv(io.StringIO((study.folder.path / "results.csv").read_text()))
    assert list(table["arm"]) == [arm.name for arm in analysis.ranking]
    assert table.set_index("arm").loc["worse", "verdict"] == "worse"
    assert table.set_index("arm").loc["worse", "parameters"] == 1_000_000


def test_only_seeds_finished_in_both_arms_are_paired(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=4)
    for seed, loss in enumerate(BASELINE_LOSSES):
        if seed != 1:
            study.run("gelu", seed, loss)
        if seed != 3:
            study.run("worse", seed, loss * 1.02 + 0.001 * seed)
        study.run("same", seed, loss + 0.001 * (-1) ** seed, status="failed" if seed == 0 else "finished", error="boom")
    analysis = analyse(study.folder.path)
    assert analysis.unpaired == {("worse", "gelu"): [1, 3], ("same", "gelu"): [0, 1]}
    assert {c.arm: c.n for c in analysis.comparisons} == {"worse": 2, "same": 2}
    expected = [BASELINE_LOSSES[s] * 0.02 + 0.001 * s for s in (0, 2)]
    assert analysis.comparison("worse").mean_difference == pytest.approx(sum(expected) / 2)
    texts = " ".join(remark.text for remark in analysis.remarks)
    assert {"failed", "missing", "few_seeds"} <= codes(analysis)
    assert "same, seed 0 failed: boom" in texts
    assert "gelu, seed 1 is not finished (waiting)" in texts
    assert [t.trial for t in analysis.failed] == [Trial("same", 0)]
    assert not analysis.complete


def test_an_arm_that_lost_a_hard_seed_does_not_gain_by_it(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=3)
    for seed, loss in enumerate([3.0, 3.1, 5.0]):
        study.run("gelu", seed, loss)
        study.run("same", seed, loss - 0.01)
        if seed < 2:
            study.run("worse", seed, loss + 0.05 + 0.001 * seed)
    analysis = analyse(study.folder.path)
    assert analysis.arms["worse"].mean < analysis.arms["same"].mean
    assert [arm.name for arm in analysis.ranking] == ["same", "gelu", "worse"]


def test_one_seed_gives_no_verdict(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=1)
    study.run("gelu", 0, 3.7)
    study.run("worse", 0, 3.9)
    study.run("same", 0, 3.7)
    analysis = analyse(study.folder.path)
    assert {c.verdict for c in analysis.comparisons} == {"none"}
    assert "few_seeds" in codes(analysis)
    analysis.write()
    written = json.loads((study.folder.path / "results.json").read_text())["comparisons"][0]
    assert (written["ci95"], written["p_value"], written["verdict"]) == (None, None, "none")


def test_a_study_without_runs_or_without_a_baseline_says_so(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=2)
    assert analyse(study.folder.path).comparisons == []
    study.run("worse", 0, 3.9)
    study.run("same", 1, 3.7)
    analysis = analyse(study.folder.path)
    assert analysis.comparisons == []
    assert "baseline" in codes(analysis)
    assert [arm.name for arm in analysis.ranking] == ["same", "worse", "gelu"]


def test_a_diverged_run_is_left_out_and_named(study: SyntheticStudy) -> None:
    summary = study.folder.run(Trial("same", 2)) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "final_val_loss": None}))
    analysis = analyse(study.folder.path)
    assert analysis.comparison("same").n == 3
    assert "same, seed 2 diverged" in " ".join(r.text for r in analysis.remarks if r.code == "diverged")


def test_a_killed_process_is_reported_though_its_run_could_not_say_so(study: SyntheticStudy) -> None:
    trial = Trial("same", 2)
    summary = study.folder.run(trial) / "summary.json"
    summary.write_text(json.dumps({**json.loads(summary.read_text()), "status": "running"}))
    assert "same, seed 2 is not finished (interrupted)" in " ".join(r.text for r in analyse(study.folder.path).remarks)
    write_atomic(study.folder.error_file(trial), "killed by SIGKILL\n")
    assert "same, seed 2 failed: killed by SIGKILL" in " ".join(r.text for r in analyse(study.folder.path).remarks)


@pytest.mark.parametrize(
    ("parameters", "flops", "expected"),
    [
        (1_009_000, 6_100_000, set()),
        (1_011_000, 6_000_000, {"parameters"}),
        (989_000, 6_000_000, {"parameters"}),
        (1_000_000, 6_130_000, {"flops_per_token"}),
    ],
)
def test_arms_of_another_size_are_flagged(
    make_study: Callable[..., SyntheticStudy], parameters: int, flops: int, expected: set[str]
) -> None:
    study = make_study(seeds=3)
    for seed in range(3):
        study.run("gelu", seed, 3.7 + 0.01 * seed)
        study.run("same", seed, 3.7 + 0.011 * seed)
        study.run("worse", seed, 3.8 + 0.012 * seed, parameters=parameters, flops_per_token=flops)
    assert codes(analyse(study.folder.path)) == expected


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("train", "max_steps", 999),
        ("train", "batch_size", 16),
        ("train", "grad_accumulation", 2),
        ("train", "precision", "bf16"),
        ("model", "block_size", 64),
        ("data", "tokenizer", "char"),
        ("data", "max_documents", 10),
    ],
)
def test_unequal_conditions_are_flagged(
    make_study: Callable[..., SyntheticStudy], section: str, key: str, value: object
) -> None:
    odd = plain_config()
    setattr(getattr(odd, section), key, value)
    analysis = analyse(make_study(configs={"gelu": plain_config(), "worse": odd, "same": plain_config()}).folder.path)
    told = [remark.text for remark in analysis.remarks if remark.code == "conditions"]
    assert len(told) == 1
    batch = key in ("batch_size", "grad_accumulation")
    what = "train.batch_size × train.grad_accumulation is 16" if batch else f"{section}.{key} is {value}"
    assert what in told[0]
    assert told[0].startswith("worse")


def test_a_tuned_learning_rate_is_a_note_and_not_a_warning(make_study: Callable[..., SyntheticStudy]) -> None:
    configs = {"gelu": plain_config(), "worse": plain_config(learning_rate=5e-3), "same": plain_config()}
    analysis = analyse(make_study(configs=configs).folder.path)
    assert "training" in codes(analysis, "note")
    assert "training" not in codes(analysis)


def test_runs_of_another_length_text_or_machine_are_flagged(study: SyntheticStudy) -> None:
    folder = study.folder.run(Trial("same", 1))
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps({**summary, "steps": 900, "tokens": 921_600}))
    for trial in study.plan.trials:
        odd = trial == Trial("same", 1)
        record = {
            **ENVIRONMENT,
            "packages": {"torch": "2.9.0" if odd else "2.13.0"},
            "data": {**ENVIRONMENT["data"], "content_sha256": "b" if odd else "a"},
        }
        (study.folder.run(trial) / "environment.json").write_text(json.dumps(record))
    analysis = analyse(study.folder.path)
    assert {"steps", "tokens", "data"} <= codes(analysis)
    told = {warning["code"] for warning in analysis.to_dict()["warnings"]}
    assert {"steps", "tokens", "data"} <= told
    assert "environment" not in told  # the numbers do not depend on where they were made; the report tells
    assert "packages.torch is 2.13.0 and 2.9.0" in " ".join(r.text for r in analysis.remarks if r.code == "environment")


def test_changing_how_to_judge_after_the_fact_is_allowed_and_told(study: SyntheticStudy) -> None:
    wider = dataclasses.replace(study.plan.study, equivalence_margin=0.05)
    with study.folder.locked():
        study.folder.adopt(dataclasses.replace(study.plan, study=wider))
    analysis = analyse(study.folder.path)
    assert "judgement" in codes(analysis)
    assert "planned with equivalence_margin 0.01 and is judged with 0.05" in " ".join(r.text for r in analysis.remarks)


def test_a_gate_that_stays_shut_is_noted(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=2)
    for seed in range(2):
        study.run("gelu", seed, 3.7)
        study.run("worse", seed, 3.8, alpha={"0": (0.0, 0.0), "1": (0.0, 0.0)})
        study.run("same", seed, 3.7, alpha={"0": (0.0, 0.5), "1": (0.0, 0.0)})
    told = [r.text for r in analyse(study.folder.path).remarks if r.code == "dead_gate"]
    assert len(told) == 1
    assert told[0].startswith("worse")


def test_higher_is_better_for_accuracies(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(metric="val_token_accuracy")
    for seed, loss in enumerate(BASELINE_LOSSES):
        study.run("gelu", seed, loss)
        study.run("worse", seed, loss * (1.02 + 0.001 * (seed % 2)))  # accuracy is 1 / loss
        study.run("same", seed, loss * (0.98 + 0.001 * (seed % 2)))
    analysis = analyse(study.folder.path)
    assert {c.arm: c.verdict for c in analysis.comparisons} == {"worse": "worse", "same": "better"}
    assert [arm.name for arm in analysis.ranking] == ["same", "gelu", "worse"]


def test_the_power_stated_is_that_of_the_strictest_holm_step(study: SyntheticStudy) -> None:
    analysis = analyse(study.folder.path)
    assert analysis.strictest_alpha == pytest.approx(0.025)
    worse = analysis.comparison("worse")
    # statsmodels: TTestPower().solve_power(nobs=4, alpha=0.025, power=0.8) = 2.7160
    assert analysis.detectable(worse) / worse.sd == pytest.approx(2.7160, abs=1e-4)


def test_a_folder_that_is_no_study_is_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="not a study's folder"):
        analyse(tmp_path)


def test_status_lists_every_trial(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(seeds=2)
    study.run("gelu", 0, 3.7)
    study.run("worse", 1, 3.7, status="failed", error="the disk is full")
    console = Console(width=140, record=True)
    console.print(status(study.folder.path))
    text = console.export_text()
    assert "1 failed" in text
    assert "1 finished" in text
    assert "4 waiting" in text
    assert "the disk is full" in text
    assert "1,000/1,000 100%" in text


def test_a_long_table_keeps_to_what_has_news() -> None:
    rows = [
        TrialRow(Trial("arm", seed), state, Progress(step=seed, tokens_per_second=100.0), 100, 10, error)
        for seed, (state, error) in enumerate(
            [("finished", None)] * 20
            + [("running", None)] * 2
            + [("failed", "the disk is full")]
            + [("waiting", None)] * 20
        )
    ]
    console = Console(width=140, record=True)
    console.print(trial_table("Study x", rows, most=10))
    text = console.export_text()
    assert "2 running, 20 finished, 1 failed" in text
    assert "arm/seed-22: the disk is full" in text
    assert "and 40 more" in text
    left = (80 + 79 + sum(100 - seed for seed in range(23, 43))) * 10 / 200
    assert study_seconds_left(rows) == pytest.approx(left)
