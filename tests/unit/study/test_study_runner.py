"""Running trials as processes: finishing, failing, skipping, continuing, stopping, and surviving a killed study."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest
from bench import STUDY, Bench, wait_until

from gatewright.errors import RunError, UserError
from gatewright.study import process as process_module
from gatewright.study.analysis import Analysis
from gatewright.study.plan import Arm, Study
from gatewright.study.progress import read_progress
from gatewright.study.trial import Trial


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Analysis, str, list]:
    """A study that ran to its end and wrote its report: the bench, the analysis, the output, what was prepared."""
    bench, prepared = Bench(tmp_path_factory.mktemp("undisturbed")), []
    analysis, printed = bench.run(prepare=prepared.append)
    return bench, analysis, printed, prepared


def test_all_trials_run_once_and_a_report_is_written(undisturbed: tuple[Bench, Analysis, str, list]) -> None:
    bench, analysis, printed, prepared = undisturbed
    assert analysis.complete
    assert len(prepared) == 1  # one corpus, whatever the number of trials
    assert {c.arm: c.verdict for c in analysis.comparisons} == {"other": "worse"}
    assert all(len(bench.attempts(arm, seed)) == 1 for arm in STUDY.arms for seed in STUDY.seeds)
    for name in ("report.html", "report.md", "results.json", "results.csv", "figures/differences.png"):
        assert (bench.folder.path / name).stat().st_size > 0
    assert "base/seed-0: finished" in printed
    assert "other is worse than base" in printed


def test_finished_trials_are_skipped(bench: Bench) -> None:
    first, _ = bench.run()
    again, _ = bench.run()
    assert all(len(bench.attempts(arm, seed)) == 1 for arm in STUDY.arms for seed in STUDY.seeds)
    assert again.to_dict() == first.to_dict()


def test_cores_are_shared_between_workers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process_module, "available_cores", lambda: 8)
    bench.run(workers=2)
    assert bench.attempts("base", 0)[0] == {"start": 0, "overrides": ["train.threads=4"], "threads": "4"}


def test_a_failing_trial_stops_nobody_and_is_tried_again(bench: Bench) -> None:
    bench.behave(other_1="once", base_2="crash")
    analysis, printed = bench.run()
    assert {t.trial.name: t.error for t in analysis.failed} == {
        "other/seed-1": "the loss became nan at step 3 (exit status 1)",
        "base/seed-2": "MemoryError: no more (exit status 1)",
    }
    assert "other/seed-1: failed: the loss became nan at step 3" in printed
    assert analysis.arms["base"].n == 2
    assert "MemoryError" in bench.folder.log_file(Trial("base", 2)).read_text()

    bench.behave()
    analysis, _ = bench.run()
    assert analysis.complete
    assert analysis.failed == []
    assert [len(bench.attempts("other", seed)) for seed in STUDY.seeds] == [1, 2, 1]


def test_a_study_in_which_nothing_finishes_is_a_failure(bench: Bench) -> None:
    bench.behave(**{f"{arm}_{seed}": "fail" for arm in STUDY.arms for seed in STUDY.seeds})
    with pytest.raises(RunError, match="no trial of study 'fake' could be finished: the loss became nan at step 3"):
        bench.run()


def test_seeds_added_later_leave_finished_runs_alone(bench: Bench) -> None:
    bench.run()
    more = Study("fake", "base", STUDY.arms, [0, 1, 2, 3], base=["model=small"])
    analysis, _ = bench.run(more)
    assert analysis.comparisons[0].n == 4
    assert [len(bench.attempts("base", seed)) for seed in range(4)] == [1, 1, 1, 1]


def test_a_changed_arm_is_refused_before_anything_runs(bench: Bench) -> None:
    bench.run()
    before = bench.results()
    changed = Study(
        "fake", "base", {"base": Arm(), "other": Arm(["train.learning_rate=0.5"])}, [0, 1, 2, 3], base=["model=small"]
    )
    with pytest.raises(UserError, match=r"other: train.learning_rate was 0.001, is 0.5"):
        bench.run(changed)
    assert bench.results() == before
    assert bench.attempts("base", 3) == []


def test_a_dry_run_prints_the_plan_and_writes_nothing(bench: Bench) -> None:
    analysis, printed = bench.run(dry_run=True, measured=False)
    assert analysis is None
    assert "6 trials: 2 arms × 3 seeds" in printed
    assert not bench.folder.path.exists()


def test_workers_must_be_positive(bench: Bench) -> None:
    with pytest.raises(UserError, match="workers=0"):
        bench.run(workers=0)


def test_sigterm_lets_trials_save_and_the_next_start_continues(
    bench: Bench, undisturbed: tuple[Bench, Analysis, str, list]
) -> None:
    bench.behave(base_0="slow", other_0="slow")
    metrics = [bench.folder.run(Trial(arm, 0)) / "metrics.jsonl" for arm in STUDY.arms]
    study = bench.in_background()
    wait_until(lambda: all(file.exists() and read_progress(file).step >= 2 for file in metrics))
    study.send_signal(signal.SIGTERM)
    said, _ = study.communicate(timeout=60)
    assert study.returncode == 1
    assert (
        "StudyInterruptedError: stopped by SIGTERM: 0 of 6 trials are finished and kept; the same command continues"
        in said
    )
    for arm in STUDY.arms:
        assert json.loads((bench.folder.run(Trial(arm, 0)) / "summary.json").read_text())["status"] == "interrupted"
        assert bench.attempts(arm, 1) == []
        assert not bench.folder.error_file(Trial(arm, 0)).exists()  # stopping is no failure

    analysis, _ = bench.run()
    assert analysis.complete
    assert all(bench.attempts(arm, 0)[1]["start"] >= 2 for arm in STUDY.arms)
    assert bench.results() == undisturbed[0].results()


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_trials_that_outlive_a_killed_study_are_stopped_and_continued(bench: Bench) -> None:
    bench.behave(base_0="slow", other_0="slow")
    file = bench.folder.run(Trial("base", 0)) / "metrics.jsonl"
    study = bench.in_background()
    wait_until(lambda: file.exists() and read_progress(file).step >= 2)
    study.kill()
    study.wait()
    marker = str(bench.folder.config_file(Trial("base", 0)))
    orphans = [p for p in psutil.process_iter(["cmdline"]) if marker in (p.info["cmdline"] or [])]
    assert len(orphans) == 1
    bench.behave()
    analysis, printed = bench.run()
    assert "still running" in printed
    assert not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in orphans)
    assert analysis.complete
    assert bench.attempts("base", 0)[1]["start"] >= 2


def test_progress_is_read_from_the_end_of_a_file_that_is_being_written(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_progress(file).step == 0
    lines = [
        json.dumps({"kind": "train", "step": i, "tokens": 10 * i, "loss": 1 / i, "tokens_per_second": 5.0})
        for i in range(1, 3000)
    ]
    lines.insert(2990, json.dumps({"kind": "eval", "step": 2990, "tokens": 29900, "val_loss": 0.5}))
    file.write_text("\n".join(lines) + '\n{"kind": "train", "step": 30')
    progress = read_progress(file)
    assert (progress.step, progress.tokens, progress.val_loss, progress.tokens_per_second) == (2999, 29990, 0.5, 5.0)
