"""Checkpoints are whole or absent; damage is found; the last ones and the best are kept."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gatewright.errors import RunError
from gatewright.training.store import CheckpointStore, fault, faults, step_of


def fill(folder: Path) -> list[str]:
    (folder / "a.bin").write_bytes(bytes(range(256)))
    (folder / "b.txt").write_text("text")
    return ["a.bin", "b.txt"]


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", keep_last=2)


def steps(store: CheckpointStore) -> list[int]:
    return [step_of(path) for path in store.paths()]


def test_saved_checkpoint_is_sound_and_listed_in_numeric_order(store: CheckpointStore) -> None:
    for step in (9, 10):
        store.save(step, fill)
    assert steps(store) == [9, 10]
    assert all(fault(path) is None for path in store.paths())
    path, problems = store.newest_sound()
    assert path is not None
    assert (path.name, problems) == ("step-10", [])
    assert (path / "b.txt").read_text() == "text"


def test_last_ones_and_the_best_are_kept(store: CheckpointStore) -> None:
    for step, loss in [(1, 3.0), (2, 1.0), (3, 2.0), (4, None), (5, 1.5), (6, 1.0)]:
        store.save(step, fill, loss)
    assert steps(store) == [2, 5, 6]  # the first of two equals is the best
    best = store.best()
    assert best is not None
    assert best.name == "step-2"


def test_without_evaluations_the_newest_is_the_best(store: CheckpointStore) -> None:
    assert store.best() is None
    for step in (1, 2, 3):
        store.save(step, fill)
    best = store.best()
    assert best is not None
    assert best.name == "step-3"


def damage_byte(path: Path) -> None:
    data = bytearray((path / "a.bin").read_bytes())
    data[17] ^= 0x40
    (path / "a.bin").write_bytes(data)


def truncate(path: Path) -> None:
    (path / "a.bin").write_bytes((path / "a.bin").read_bytes()[:-1])


DAMAGE = {
    "flipped bit": (damage_byte, "a.bin is damaged"),
    "truncated": (truncate, "a.bin is damaged"),
    "file gone": (lambda path: (path / "b.txt").unlink(), "b.txt cannot be read"),
    "manifest gone": (lambda path: (path / "manifest.json").unlink(), "manifest.json is missing"),
    "manifest torn": (lambda path: (path / "manifest.json").write_text('{"files": {"a'), "missing or unreadable"),
    "manifest of another kind": (lambda path: (path / "manifest.json").write_text("[1]"), "missing or unreadable"),
    "manifest of nothing": (lambda path: (path / "manifest.json").write_text('{"files": {}}'), "missing or unreadable"),
    "name of no file": (
        lambda path: (path / "manifest.json").write_text('{"files": {"a\\u0000": {}}}'),
        "cannot be read",
    ),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_noticed_and_the_one_before_is_used(store: CheckpointStore, kind: str) -> None:
    spoil, words = DAMAGE[kind]
    for step in (1, 2):
        store.save(step, fill)
    spoil(store.paths()[-1])
    path, problems = store.newest_sound()
    assert path is not None
    assert path.name == "step-1"
    assert len(problems) == 1
    assert "step-2" in problems[0]
    assert words in problems[0]


def test_manifest_cannot_point_outside_of_its_folder(store: CheckpointStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("text")
    store.save(1, fill)
    manifest = store.paths()[0] / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["../../outside.txt"] = content["files"].pop("b.txt")
    manifest.write_text(json.dumps(content))
    assert "cannot be read" in str(fault(store.paths()[0]))


def test_a_damaged_checkpoint_is_replaced_when_its_step_is_saved_again(store: CheckpointStore) -> None:
    store.save(1, fill)
    damage_byte(store.paths()[0])
    store.save(1, fill)
    assert fault(store.paths()[0]) is None
    assert [path.name for path in store.folder.iterdir()] == ["step-1"]


def test_failed_write_leaves_nothing_and_says_why(store: CheckpointStore) -> None:
    store.save(1, fill)

    def full(folder: Path) -> list[str]:
        fill(folder)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(RunError, match=r"cannot write checkpoint .*step-2: No space left on device; earlier"):
        store.save(2, full)
    assert [path.name for path in store.folder.iterdir()] == ["step-1"]
    assert fault(store.paths()[0]) is None


def test_other_errors_pass_through_and_leave_nothing(store: CheckpointStore) -> None:
    def broken(folder: Path) -> list[str]:
        fill(folder)
        raise KeyError("bug")

    with pytest.raises(KeyError):
        store.save(2, broken)
    assert list(store.folder.iterdir()) == []


def test_leftovers_of_a_killed_process_are_removed_by_the_next_save(store: CheckpointStore) -> None:
    left = store.folder / ".step-3.12345"
    left.mkdir(parents=True)
    fill(left)
    assert store.newest_sound() == (None, [])
    store.save(4, fill)
    assert [path.name for path in store.folder.iterdir()] == ["step-4"]


class Peer:
    """One of several writers, each a thread."""

    def __init__(self, rank: int, meeting: threading.Barrier, table: list[Any]) -> None:
        self.rank, self.is_main, self.meeting, self.table = rank, rank == 0, meeting, table

    def exchange(self, value: Any) -> list[Any]:
        self.table[self.rank] = value
        self.meeting.wait(20)
        said = list(self.table)
        self.meeting.wait(20)
        return said


def save_by_three(store: CheckpointStore, write: Callable[[int, Path], list[str]]) -> list[Any]:
    """What saving gives in each of three peers: the folder, or what was raised."""
    meeting, table = threading.Barrier(3), [None] * 3

    def save(rank: int) -> Any:
        try:
            return store.save(1, lambda folder: write(rank, folder), 0.5, Peer(rank, meeting, table))
        except Exception as error:
            return error

    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(save, range(3)))


def write_own(rank: int, folder: Path) -> list[str]:
    (folder / f"part-{rank}").write_text(str(rank))
    return [f"part-{rank}"]


def test_files_of_several_writers_are_one_checkpoint(store: CheckpointStore) -> None:
    final = store.folder / "step-1"
    assert save_by_three(store, write_own) == [final] * 3
    assert list(json.loads((final / "manifest.json").read_text())["files"]) == ["part-0", "part-1", "part-2"]
    assert fault(final) is None
    damaged = final / "part-2"
    damaged.write_text("3")
    assert "part-2 is damaged" in str(fault(final))
    assert list(faults(final, thorough=False)) == []  # the size is right
    damaged.write_text("22")
    assert len(list(faults(final, thorough=False))) == 1


@pytest.mark.parametrize("broken", [0, 2])
def test_a_disk_that_is_full_for_one_writer_ends_the_checkpoint_for_all(store: CheckpointStore, broken: int) -> None:
    store.save(0, fill)

    def write(rank: int, folder: Path) -> list[str]:
        if rank == broken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_own(rank, folder)

    errors = save_by_three(store, write)
    assert all(isinstance(error, RunError) for error in errors)
    for rank, error in enumerate(errors):
        who = "" if rank == broken else f" (process {broken})"
        assert f"step-1: No space left on device{who}; earlier checkpoints are intact" in str(error)
    assert [path.name for path in store.folder.iterdir()] == ["step-0"]
