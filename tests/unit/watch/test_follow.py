"""Reading metrics files that grow, are torn, are replaced, or are not there yet."""

from __future__ import annotations

from pathlib import Path

import pytest
from folders import eval_record, lines, train_record

from gatewright.watch.follow import MOST_POINTS, RATE_OVER, TAIL_BYTES, History, Point, read_progress


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def append(file: Path, text: str) -> None:
    with file.open("a") as out:
        out.write(text)


def test_a_file_that_is_not_there_yet_says_nothing_and_then_speaks(file: Path) -> None:
    history = History(file)
    history.update()
    assert (history.progress.step, history.progress.loss, history.train) == (0, None, [])
    append(file, lines(train_record(10, 5.5)))
    history.update()
    assert history.train == [Point(10, 5.5)]
    assert (history.progress.step, history.progress.tokens, history.progress.loss) == (10, 10_240, 5.5)


def test_only_what_is_new_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(file, lines(*(train_record(step) for step in range(1, 500))))
    history = History(file)
    history.update()
    seen: list[bytes] = []
    monkeypatch.setattr(history, "_add", seen.append)
    history.update()
    assert seen == []
    append(file, lines(eval_record(499, 4.0)))
    history.update()
    assert len(seen) == 1
    assert b"4.0" in seen[0]


def test_a_line_is_taken_when_it_is_whole(file: Path) -> None:
    whole = lines(train_record(20, 5.0))
    append(file, lines(train_record(10, 6.0)) + whole[:30])
    history = History(file)
    history.update()
    assert history.train == [Point(10, 6.0)]
    append(file, whole[30:])
    history.update()
    assert history.train == [Point(10, 6.0), Point(20, 5.0)]


def test_torn_and_alien_lines_are_passed_over(file: Path) -> None:
    append(file, lines(train_record(10, 6.0)) + '{"kind": "tra\n[1, 2]\n"text"\n{"kind": "train"}\n\xff\n')
    append(file, lines(train_record(20, None) | {"loss": None}, eval_record(20, 5.0)))
    history = History(file)
    history.update()
    assert history.train == [Point(10, 6.0)]
    assert history.validation == [Point(20, 5.0)]
    assert history.progress.loss is None
    assert history.progress.step == 20


def test_a_resumed_run_that_dropped_records_is_read_anew(file: Path) -> None:
    append(file, lines(*(train_record(step, 6.0) for step in (10, 20, 30)), eval_record(30, 9.0)))
    history = History(file)
    history.update()
    replacement = file.with_name("new")
    replacement.write_text(lines(train_record(10, 6.0), *(train_record(step, 4.0) for step in range(20, 80))))
    replacement.replace(file)
    history.update()
    assert history.train[:2] == [Point(10, 6.0), Point(20, 4.0)]
    assert len(history.train) == 61
    assert history.validation == []
    assert history.progress.val_loss is None


def test_a_file_that_became_shorter_in_place_is_read_anew(file: Path) -> None:
    append(file, lines(*(train_record(step, 6.0) for step in (10, 20, 30))))
    history = History(file)
    history.update()
    file.write_text(lines(train_record(10, 3.0)))
    history.update()
    assert history.train == [Point(10, 3.0)]


def test_steps_that_are_repeated_replace_the_points_they_had(file: Path) -> None:
    append(file, lines(*(train_record(step, 6.0) for step in (10, 20, 30)), train_record(20, 5.0)))
    history = History(file)
    history.update()
    assert history.train == [Point(10, 6.0), Point(20, 5.0)]


def test_the_time_left_follows_the_clock_and_counts_down(file: Path) -> None:
    append(file, lines(*(train_record(step) for step in range(10, 110, 10))))
    history = History(file)
    history.update()
    assert history.seconds_to(1_000, now=50.0) == pytest.approx(0.5 * 900)
    assert history.seconds_to(1_000, now=60.0) == pytest.approx(0.5 * 900 - 10)
    assert history.seconds_to(100, now=60.0) == 0.0


def test_the_time_left_heeds_neither_the_time_between_two_attempts_nor_an_old_pace(file: Path) -> None:
    append(file, lines(train_record(10), train_record(20)))
    append(file, lines(train_record(30, began=5_000), train_record(40, began=5_000)))
    history = History(file)
    history.update()
    assert history.seconds_to(100, now=5_020.0, since=5_000.0) == pytest.approx(0.5 * 60)
    slow = [train_record(step, time=6_000.0 + 2 * step) for step in range(50, 50 + RATE_OVER)]
    append(file, lines(*slow))
    history.update()
    assert history.seconds_to(1_000, now=slow[-1]["time"]) == pytest.approx(2 * (1_000 - slow[-1]["step"]))


def test_one_record_gives_the_pace_of_training_itself_and_none_gives_nothing(file: Path) -> None:
    history = History(file)
    assert history.seconds_to(100, now=0.0) is None
    append(file, lines(train_record(10)))
    history.update()
    assert history.seconds_to(100, now=5.0) == pytest.approx(90 * 1_024 / 4_096)
    assert history.seconds_to(100, now=5.0, since=6.0) is None


def test_a_long_history_keeps_its_ends_and_its_shape(file: Path) -> None:
    append(file, lines(*(train_record(step) for step in range(1, MOST_POINTS + 100))))
    history = History(file)
    history.update()
    assert len(history.train) < MOST_POINTS
    assert history.train[0].step == 1
    assert history.train[-1].step == MOST_POINTS + 99
    assert all(point.value == 7 - point.step / 500 for point in history.train)


def test_progress_is_read_from_the_end_alone(file: Path) -> None:
    assert read_progress(file).step == 0
    append(file, lines(eval_record(1, 9.0)) + "x" * 2 * TAIL_BYTES + "\n")
    append(file, lines(train_record(10, 5.0)) + '{"kind": "eval", "st')
    progress = read_progress(file)
    assert (progress.step, progress.loss, progress.val_loss) == (10, 5.0, None)
