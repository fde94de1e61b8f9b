"""A study of real trials: one is killed, one hangs, one runs out of memory, and then the whole study is killed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml
from comparing import contents, resumed_at, same_run
from fault_table import Seen
from processes import Ended, Started, gatewright
from workplace import Workplace

from gatewright.run import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9"),
]
PARTS = Path(__file__).with_name("faulty_parts.py")
ARMS = ["mortal", "asleep", "hungry"]
STUDY = ["study", "run", "study.yaml", "--out", "study", "--workers", "2", "--stall-timeout", "45s"]


def write_study(workplace: Workplace, arms: list[str]) -> None:
    values = {
        "name": "faults",
        "base": [*workplace.overrides(), f"plugins=[{PARTS}]"],
        "seeds": [0],
        "baseline": "plain",
        "arms": {"plain": {}, **{arm: {"overrides": [f"model.activation={arm}"]} for arm in arms}},
    }
    (workplace.folder / "study.yaml").write_text(yaml.safe_dump(values))


def trial(workplace: Workplace, arm: str) -> Path:
    return workplace.folder / "study" / "runs" / arm / "seed-0"


def undisturbed_trial(workplace: Workplace, arm: str) -> Path:
    """The same training, by itself and with nothing in its way."""
    config = workplace.folder / "study" / "trials" / arm / "seed-0.yaml"
    words = ["--plugin", str(PARTS), "train", "--config", str(config), f"out=alone-{arm}", "train.threads=1"]
    ended = gatewright(workplace.folder, *words, environment={"FAULTS": str(workplace.folder / "none")})
    assert ended.status == 0, ended.said
    return workplace.folder / f"alone-{arm}"


def line(ended: Ended, *words: str) -> str:
    """The one line with all the words."""
    (found,) = [line for line in ended.said.splitlines() if all(word in line for word in words)]
    return found.strip()


@dataclass(frozen=True)
class Disturbed:
    """What a study looked like that was run twice: with everything going wrong, and again."""

    workplace: Workplace
    first: Ended
    beside: Ended
    """the same command, while the first was running"""
    kept: dict[str, str]
    """the bytes of the arm that had finished by then"""
    hungry: str
    second: Ended


@pytest.fixture(scope="module")
def disturbed(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Disturbed:
    workplace = Workplace(tmp_path_factory.mktemp("study"), text)
    folder = workplace.folder
    write_study(workplace, ARMS)
    (folder / "marks").mkdir()
    for arm in ARMS:
        (folder / "marks" / arm.capitalize()).touch()
    environment = {"FAULTS": str(folder / "marks")}
    words = ["--plugin", str(PARTS), *STUDY]
    started = Started(folder, *words, environment=environment)
    started.wait_for(lambda: (folder / "study" / "plan.json").exists())
    beside = gatewright(folder, *words, environment=environment)
    first = started.end()
    kept = contents(trial(workplace, "plain"))
    hungry = str((Run(trial(workplace, "hungry")).summary or {})["error"])
    (folder / "marks" / "Hungry").unlink()  # a larger machine
    second = gatewright(folder, *words, environment=environment)
    return Disturbed(workplace, first, beside, kept, hungry, second)


def test_the_study_goes_on_and_is_finished_in_the_end(disturbed: Disturbed) -> None:
    assert disturbed.first.status == 1, disturbed.first.said
    assert disturbed.second.status == 0, disturbed.second.said
    assert contents(trial(disturbed.workplace, "plain")) == disturbed.kept
    for arm in ("plain", *ARMS):
        same_run(trial(disturbed.workplace, arm), undisturbed_trial(disturbed.workplace, arm))
    page = (disturbed.workplace.folder / "study" / "report.md").read_text()
    assert "failed" not in page.partition("## Arms")[0]


def test_two_processes_in_one_study(disturbed: Disturbed, seen: Seen) -> None:
    assert disturbed.beside.status == 2
    message = disturbed.beside.complaint.replace(f"{disturbed.workplace.folder}/", "")
    seen("two processes started on one study", message, lost="nothing: the first goes on", then="wait for the first")


def test_kill_9_of_a_trial(disturbed: Disturbed, seen: Seen) -> None:
    said = line(disturbed.first, "mortal/seed-0", "starts again")
    assert "killed by SIGKILL" in said
    assert resumed_at(trial(disturbed.workplace, "mortal")) in ([30], [60])  # that of 60 may not have been written yet
    seen(
        "`kill -9` of a trial of a study", _without_step(said), lost="the steps since the trial's last checkpoint",
        then="by itself: the trial is started again, up to `--retries` times without progress",
    )  # fmt: skip


def test_a_trial_that_hangs(disturbed: Disturbed, seen: Seen) -> None:
    said = line(disturbed.first, "asleep/seed-0", "starts again")
    assert "wrote nothing for" in said
    assert resumed_at(trial(disturbed.workplace, "asleep")) == [60]
    seen(
        "a trial that hangs", _without_step(said), lost="the steps since the trial's last checkpoint",
        then="by itself, after `--stall-timeout` (two hours, if left out)",
    )  # fmt: skip


def test_out_of_memory_in_one_arm(disturbed: Disturbed, seen: Seen) -> None:
    said = line(disturbed.first, "hungry/seed-0: failed")
    assert "out of memory on cpu" in said
    assert disturbed.hungry in said
    page = (disturbed.workplace.folder / "study" / "report.md").read_text()
    assert "hungry" in page
    assert resumed_at(trial(disturbed.workplace, "hungry")) == [60]
    message = said.partition(" at step ")[0] + " at step N; lower train.batch_size …"
    seen(
        "out of memory in one arm", message, lost="that trial's steps since its last checkpoint; other arms finish",
        then="again, on a larger machine; a smaller micro-batch (`train.batch_size`) makes it another study",
    )  # fmt: skip


def _without_step(said: str) -> str:
    """A line without the step, which depends on the moment, and without the pause."""
    return said.partition(" at step ")[0] + " at step N; starts again in 5 s"


def test_kill_9_of_a_study(workplace: Workplace, seen: Seen) -> None:
    write_study(workplace, ["hungry"])
    environment = {"FAULTS": str(workplace.folder / "none")}
    words = ["--plugin", str(PARTS), *STUDY]
    study = Started(workplace.folder, *words, "train.max_steps=3000", environment=environment)
    files = [trial(workplace, arm) / "metrics.jsonl" for arm in ("plain", "hungry")]
    study.wait_for(lambda: all(file.exists() and file.read_bytes().count(b"\n") > 100 for file in files))
    study.kill()
    assert study.end().status == -9
    marker = str(workplace.folder / "study" / "trials")
    left = [p for p in psutil.process_iter(["cmdline"]) if any(marker in word for word in p.info["cmdline"] or ())]
    assert len(left) == 2, "trials outlive their study"
    again = gatewright(workplace.folder, *words, "train.max_steps=3000", environment=environment)
    assert again.status == 0, again.said
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in left)
    for arm in ("plain", "hungry"):
        assert len(resumed_at(trial(workplace, arm))) == 1
        same_run(trial(workplace, arm), undisturbed_trial(workplace, arm))
    seen(
        "`kill -9` of a study", line(again, "earlier start"), lost="nothing: its trials save before they are continued",
        then="again",
    )  # fmt: skip
