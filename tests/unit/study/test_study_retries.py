"""Trials that are killed, pre-empted or hang: they are started again and the study comes to the same results."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from bench import PAIR, Bench, undisturbed, wait_until
from rich.console import Console

from gatewright.errors import RunError
from gatewright.study.board import status
from gatewright.study.contents import report_contents
from gatewright.study.launch import retries as retries_module
from gatewright.study.launch import silence as silence_module
from gatewright.study.launch.job import Ending
from gatewright.study.launch.retries import Retries
from gatewright.study.launch.silence import Silence
from gatewright.study.process import trial_processes
from gatewright.study.progress import read_progress
from gatewright.study.trial import Trial

pytestmark = pytest.mark.skipif(os.name != "posix", reason="there are no POSIX signals")
BASE = Trial("base", 0)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "FIRST_PAUSE", 0.05)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The study of two trials, undisturbed."""
    return undisturbed(tmp_path_factory.mktemp("whole"))


def test_pauses_grow_and_progress_begins_the_count_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries_module, "FIRST_PAUSE", 5.0)
    retries = Retries(3)
    assert [retries.pause(BASE, 40) for _ in range(4)] == [5, 10, 20, None]
    assert [retries.pause(BASE, step) for step in (41, 41, 50, 45)] == [5, 10, 5, 10]
    assert Retries(0).pause(BASE, 100) is None
    patient = Retries(20)
    assert max(filter(None, (patient.pause(BASE, 1) for _ in range(20)))) == 600


@pytest.mark.parametrize(
    ("ending", "may_pass"),
    [
        (Ending(-9), True), (Ending(137), True), (Ending(130), True), (Ending(1), False), (Ending(2), False),
        (Ending(0), False), (Ending(None, "job 7: NODE_FAIL"), True),
        (Ending(None, "job 7: CANCELLED by 1000", cancelled=True), False),
    ],
)  # fmt: skip
def test_what_may_pass_is_what_came_from_outside(ending: Ending, may_pass: bool) -> None:
    assert ending.may_pass is may_pass


def test_a_killed_trial_goes_on_from_its_checkpoint(bench: Bench, whole: Bench) -> None:
    bench.behave(base_0="shot")
    analysis, printed = bench.run(PAIR)
    assert [attempt["start"] for attempt in bench.attempts("base", 0)] == [0, 5]
    assert "base/seed-0: killed by SIGKILL at step 7; starts again in" in printed
    assert bench.results() == whole.results()
    assert [r.text for r in analysis.remarks if r.code == "retried"] == [
        "Started again, from their last checkpoints, after they were lost: base/seed-0 (killed by SIGKILL)."
    ]
    assert any("base/seed-0 (killed by SIGKILL)" in note for note in report_contents(analysis)["notes"])
    screen = Console(file=io.StringIO(), width=120)
    screen.print(status(bench.folder.path))
    assert "base/seed-0: started again, killed by SIGKILL" in screen.file.getvalue()


def test_one_that_dies_at_the_same_place_is_given_up(bench: Bench) -> None:
    bench.behave(base_0="doomed", other_0="crash")
    with pytest.raises(RunError, match="no trial of study 'pair' could be finished: killed by SIGKILL"):
        bench.run(PAIR, retries=2)
    assert len(bench.attempts("base", 0)) == 3
    assert len(bench.attempts("other", 0)) == 1  # it gave up by itself
    assert bench.folder.error_file(BASE).read_text() == "killed by SIGKILL\n"


def test_one_that_is_asked_to_leave_is_started_again(bench: Bench, whole: Bench) -> None:
    bench.behave(base_0="slow")
    metrics = bench.folder.run(BASE) / "metrics.jsonl"

    def preempt() -> None:
        wait_until(lambda: metrics.exists() and read_progress(metrics).step >= 2)
        bench.behave()
        trial_processes(bench.folder, [BASE])[BASE].terminate()

    outsider = threading.Thread(target=preempt)
    outsider.start()
    _, printed = bench.run(PAIR)
    outsider.join()
    assert "base/seed-0: asked to leave at step" in printed
    assert bench.attempts("base", 0)[1]["start"] >= 2
    assert bench.results() == whole.results()


def test_one_that_hangs_is_asked_then_killed_then_started_again(bench: Bench, whole: Bench) -> None:
    bench.behave(base_0="hang")
    _, printed = bench.run(PAIR, stall_timeout=1.5)
    assert "base/seed-0: wrote nothing for" in printed
    assert [attempt["start"] for attempt in bench.attempts("base", 0)] == [0, 5]
    assert len(bench.attempts("other", 0)) == 1
    assert bench.results() == whole.results()


def test_silence_is_counted_by_a_clock_that_cannot_be_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(silence_module.time, "monotonic", lambda: now[0])
    file = tmp_path / "log"
    silence = Silence([file])
    now[0] = 130.0
    assert silence.seconds() == 30
    file.write_text("a line\n")
    os.utime(file, (1, 1))  # the node's clock is far behind
    assert silence.seconds() == 0
    now[0] = 140.0
    assert silence.seconds() == 10
