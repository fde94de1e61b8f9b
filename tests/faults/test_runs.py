"""One run: killed, out of disk, damaged, locked, misled by the clock."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from comparing import checkpoints, contents, resumed_at, same_run, steps
from fault_table import Seen
from mishaps import ClockGoesBackwards, DieAt, ReadOnly, SmallDisk, SmallFiles, can_mount
from processes import Started, gatewright
from workplace import Workplace

from gatewright.run import Run
from gatewright.study.compare import compare_runs

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals, limits and links are POSIX")

needs_mounts = pytest.mark.skipif(not can_mount(), reason="this system gives nobody a file system of their own")
AGAIN = "again"


def note(said: str, word: str) -> str:
    """The one line of an output in which a word stands."""
    lines = [line.strip() for line in said.splitlines() if word in line]
    assert len(lines) == 1, said
    return lines[0]


def test_kill_9_of_a_training(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    killed = DieAt("checkpoints/.step-60", 1)  # sixty steps are done, thirty are saved
    assert gatewright(workplace.folder, *workplace.words("run"), before=killed).status == -9
    run = workplace.folder / "run"
    assert Run(run).train_records()[-1]["step"] == 60
    before = checkpoints(run)
    watched = gatewright(workplace.folder, "watch", "run", "--once")
    assert "stopped (killed?)" in watched.said

    ended = gatewright(workplace.folder, *workplace.words("run"), "resume=auto")
    assert ended.status == 0
    assert resumed_at(run) == [30]
    assert before.items() <= checkpoints(run).items()
    same_run(run, undisturbed)
    seen(
        "`kill -9` of a training", "stopped (killed?)` in `gatewright watch`, then `" + note(ended.said, "continuing"),
        lost="the steps since the last checkpoint, which are repeated", then=AGAIN,
    )  # fmt: skip


def moments(workplace: Workplace) -> int:
    """How many file operations belong to a checkpoint."""
    for moment in range(1, 200):
        out = f"counted-{moment}"
        if (
            gatewright(workplace.folder, *workplace.words(out, max_steps=60), before=DieAt("step-60", moment)).status
            == 0
        ):
            return moment - 1
    raise AssertionError("a checkpoint never ends")


def killed_while_saving(workplace: Workplace, moment: int, undisturbed: Path) -> str:
    out = f"killed-{moment}"
    first = gatewright(workplace.folder, *workplace.words(out), before=DieAt("step-60", moment))
    assert first.status == -9, first.said
    run = workplace.folder / out
    before = checkpoints(run)
    assert steps(run) in ([30], [30, 60])
    assert {path.name for path in Run(run).checkpoints()} == {f"step-{step}" for step in steps(run)}, (
        "half a checkpoint"
    )
    ended = gatewright(workplace.folder, *workplace.words(out), "resume=auto")
    assert ended.status == 0, ended.said
    assert before.items() <= checkpoints(run).items()
    assert not list((run / "checkpoints").glob(".*"))
    same_run(run, undisturbed)
    return note(ended.said, "continuing").replace(out, "run")


@pytest.mark.parametrize("moment", [5])
def test_kill_9_in_the_middle_of_a_checkpoint(moment: int, workplace: Workplace, undisturbed: Path) -> None:
    killed_while_saving(workplace, moment, undisturbed)


@pytest.mark.slow
def test_kill_9_at_every_moment_of_a_checkpoint(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    count = moments(workplace)
    assert count > 5
    said = [killed_while_saving(workplace, moment, undisturbed) for moment in range(1, count + 1)]
    seen(
        "`kill -9` in the middle of a checkpoint, at every file it touches", said[0],
        lost="that checkpoint; earlier ones are intact", then=AGAIN,
    )  # fmt: skip


@needs_mounts
def test_a_full_disk(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    place, kept = workplace.folder / "disk", workplace.folder / "kept"
    place.mkdir()
    ended = gatewright(workplace.folder, *workplace.words("disk/run"), before=SmallDisk(place, 240_000, kept))
    assert ended.status == 1
    assert "No space left on device" in ended.complaint
    assert "earlier checkpoints are intact" in ended.complaint
    (kept / "run").rename(place / "run")  # now there is room
    run = place / "run"
    before = checkpoints(run)
    assert 30 in steps(run)
    assert not list((run / "checkpoints").glob(".*"))
    assert gatewright(workplace.folder, *workplace.words("disk/run"), "resume=auto").status == 0
    assert before.items() <= checkpoints(run).items()
    same_run(run, undisturbed)
    step = next(
        word for word in ended.complaint.replace(":", " ").replace("/", " ").split() if word.startswith("step-")
    )
    seen(
        "a full disk", ended.complaint.replace(step, "step-N"),
        lost="the steps since the last checkpoint", then=f"make room, then {AGAIN}",
    )  # fmt: skip


def test_a_write_that_is_refused_in_the_middle_of_a_file(workplace: Workplace, undisturbed: Path) -> None:
    ended = gatewright(workplace.folder, *workplace.words("run"), before=SmallFiles(30_000))
    assert ended.status == 1
    assert "File too large" in ended.complaint
    run = workplace.folder / "run"
    assert Run(run).checkpoints() == []
    assert Run(run).status == "failed"
    assert gatewright(workplace.folder, *workplace.words("run"), "resume=auto").status == 0
    same_run(run, undisturbed)


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


@pytest.mark.parametrize(
    ("kind", "spoil", "name"),
    [
        ("a flipped bit in a checkpoint", flip, "model.safetensors"),
        pytest.param("a truncated checkpoint", truncate, "optimizer.safetensors", marks=pytest.mark.slow),
    ],
)
def test_a_damaged_checkpoint(
    kind: str, spoil: Callable[[Path], None], name: str, workplace: Workplace, undisturbed: Path, seen: Seen
) -> None:
    run = workplace.folder / "run"
    assert gatewright(workplace.folder, *workplace.words("run"), before=DieAt("step-90", 1)).status == -9
    spoil(run / "checkpoints" / "step-60" / name)
    before = checkpoints(run)
    assert steps(run) == [30]
    ended = gatewright(workplace.folder, *workplace.words("run"), "resume=auto")
    assert ended.status == 0
    assert resumed_at(run) == [30]
    assert before.items() <= checkpoints(run).items()
    same_run(run, undisturbed)
    assert steps(run) == [30, 60, 90, 120], "the damaged one was written anew"
    seen(
        kind, note(ended.said, "is damaged"),
        lost="the steps since the sound one before it", then=f"{AGAIN}, from the sound one before",
    )  # fmt: skip


@pytest.mark.slow
def test_every_checkpoint_damaged(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    run = workplace.folder / "run"
    assert gatewright(workplace.folder, *workplace.words("run"), before=DieAt("step-60", 1)).status == -9
    flip(run / "checkpoints" / "step-30" / "optimizer.safetensors")
    refused = gatewright(workplace.folder, "generate", "run", "--prompt", "the gate")
    assert refused.status == 2
    assert "no usable checkpoint" in refused.complaint
    ended = gatewright(workplace.folder, *workplace.words("run"), "resume=auto")
    assert ended.status == 0
    same_run(run, undisturbed)
    said = note(ended.said, "starting afresh")
    seen("every checkpoint damaged", said, lost="the run so far", then=f"{AGAIN}, from the start")


@needs_mounts
def test_a_read_only_folder(workplace: Workplace, seen: Seen) -> None:
    place = workplace.folder / "archive"
    place.mkdir()
    ended = gatewright(workplace.folder, *workplace.words("archive/run"), before=ReadOnly(place))
    assert ended.status == 2
    assert list(place.iterdir()) == []
    seen(
        "a read-only output folder", ended.complaint, lost="nothing: it is said before any work", then="another `out=`"
    )


@needs_mounts
@pytest.mark.slow
def test_a_run_that_has_become_read_only(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    run = workplace.folder / "run"
    assert gatewright(workplace.folder, *workplace.words("run"), before=DieAt("step-60", 1)).status == -9
    before = contents(run)
    ended = gatewright(workplace.folder, *workplace.words("run"), "resume=auto", before=ReadOnly(run))
    assert ended.status == 2
    assert contents(run) == before
    assert gatewright(workplace.folder, *workplace.words("run"), "resume=auto").status == 0
    same_run(run, undisturbed)
    seen(
        "a run's folder that became read-only", ended.complaint, lost="nothing", then=f"make it writable, then {AGAIN}"
    )


def test_two_processes_in_one_run(workplace: Workplace, seen: Seen) -> None:
    first = Started(workplace.folder, *workplace.words("run", max_steps=1_000_000))
    metrics = workplace.folder / "run" / "metrics.jsonl"
    first.wait_for(lambda: metrics.exists() and metrics.stat().st_size > 0)
    second = gatewright(workplace.folder, *workplace.words("run", max_steps=1_000_000), "resume=auto")
    assert second.status == 2
    written = metrics.stat().st_size
    first.wait_for(lambda: metrics.stat().st_size > written)  # it goes on undisturbed
    first.kill()
    first.end()
    records = [record["step"] for record in Run(workplace.folder / "run").train_records()]
    assert records == list(range(1, len(records) + 1))
    seen(
        "two processes started on one run",
        second.complaint,
        lost="nothing: the first goes on",
        then="wait for the first",
    )


def test_a_damaged_line_of_metrics(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    run = workplace.folder / "run"
    assert gatewright(workplace.folder, *workplace.words("run"), before=DieAt("step-60", 1)).status == -9
    lines = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    lines[10] = lines[10][:20] + b"\xff\x00" + lines[10][22:]  # the record of step 11
    (run / "metrics.jsonl").write_bytes(b"".join(lines) + lines[-1][:30])  # and a torn end
    ended = gatewright(workplace.folder, *workplace.words("run"), "resume=auto")
    assert ended.status == 0
    said = note(ended.said, "damaged")
    same_run(run, undisturbed, but=(11,))
    after = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    assert after[10] == lines[10], "it is still there for whoever can mend it"
    assert gatewright(workplace.folder, "watch", "run", "--once").status == 0
    compared = compare_runs([Run(run), Run(undisturbed)])
    assert [r.text for r in compared.analysis.remarks if r.code == "records"] == [
        f"{run / 'metrics.jsonl'} has 1 damaged line: its curves lack as many points."
    ]
    seen("a damaged line of `metrics.jsonl`", said, lost="that point of the curves", then=AGAIN)


def test_a_damaged_summary(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    run = workplace.folder / "run"
    assert gatewright(workplace.folder, *workplace.words("run")).status == 0
    before = checkpoints(run)
    truncate(run / "summary.json")
    compared = compare_runs([Run(undisturbed), Run(run)])
    assert [str(path) for path, _ in compared.left_out] == [str(run)]
    assert gatewright(workplace.folder, *workplace.words("run"), "resume=auto").status == 0
    assert checkpoints(run) == before
    same_run(run, undisturbed)
    file = f"cannot read {run / 'summary.json'}: "
    assert compared.left_out[0][1].startswith(file)
    said = f"{file}…"  # what and where depends on the length of what was written
    seen("a damaged `summary.json`", said, lost="nothing", then="again: it is written anew from the last checkpoint")


def test_a_clock_that_goes_backwards(workplace: Workplace, undisturbed: Path, seen: Seen) -> None:
    run = workplace.folder / "run"
    stop = DieAt("step-90", 1)
    assert gatewright(workplace.folder, *workplace.words("run"), before=Both(ClockGoesBackwards(), stop)).status == -9
    times = [record["time"] for record in Run(run).train_records()]
    assert times == sorted(times, reverse=True), "the clock did go backwards"
    watched = gatewright(workplace.folder, "watch", "run", "--once")
    assert watched.status == 0
    assert "-1 day" not in watched.said
    ended = gatewright(workplace.folder, *workplace.words("run"), "resume=auto", before=ClockGoesBackwards())
    assert ended.status == 0
    assert resumed_at(run) == [60]
    same_run(run, undisturbed)
    summary = Run(run).summary or {}
    assert summary["seconds"] > 0
    assert summary["tokens_per_second"] > 0
    seen(
        "a clock that goes backwards", note(ended.said, "continuing"),
        lost="nothing: what is measured is measured by a clock that cannot be set", then="by itself",
    )  # fmt: skip


class Both:
    """Two mishaps in one process."""

    def __init__(self, *mishaps: object) -> None:
        self.mishaps = mishaps

    def __call__(self) -> None:
        for mishap in self.mishaps:
            mishap()  # type: ignore[operator]
