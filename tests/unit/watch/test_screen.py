"""What the dashboard shows, and that it fits the terminal."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from folders import eval_record, held, lines, train_record, write_run
from rich.console import Console

import gatewright.watch
from gatewright.watch import watch
from gatewright.watch.curve import LABEL, course
from gatewright.watch.follow import History, Point
from gatewright.watch.runs import View
from gatewright.watch.screen import frame
from gatewright.watch.vitals import Vitals

ALPHA = {str(layer): 0.5 + layer / 100 for layer in range(12)}


def history(folder: Path, step: int, alpha: dict[str, float] | None = None) -> History:
    """A run at ``step``, its loss falling from 7 to 5 in a thousand."""
    records = [train_record(s, alpha=alpha or {}) for s in range(10, step + 1, 10)]
    file = folder / f"{step}-{bool(alpha)}.jsonl"
    file.write_text(lines(*records, *([eval_record(step, 4.25)] if step else [])))
    made = History(file)
    made.update()
    return made


def running(folder: Path, name: str, step: int = 500, alpha: dict[str, float] | None = None) -> View:
    return View(
        name, "running", history(folder, step, alpha), 1_000, "4L-4H-128D-RoPE", Vitals(4_711, 183.4, 258_000_000, 0.0),
        seconds_left=3_725.0, checkpoint=600, checkpoint_in=125.0,
    )  # fmt: skip


def text_of(views: list[View], width: int, height: int | None) -> list[str]:
    console = Console(width=width, height=height or 25, file=io.StringIO(), record=True)
    console.print(frame("runs/demo", views, width, height))
    return console.export_text().splitlines()


def others(folder: Path) -> list[View]:
    nothing = history(folder, 0)
    return [
        View("gelu/seed-0", "finished", history(folder, 1_000), 1_000),
        View("pagelu/seed-0", "failed", history(folder, 200), 1_000, error="the loss became nan at step 203; " * 9),
        View("gelu/seed-1", "stopped (killed?)", history(folder, 300), 1_000),
        *(View(f"pagelu/seed-{seed}", "waiting", nothing) for seed in range(2, 9)),
    ]


@pytest.mark.parametrize("alpha", [None, ALPHA], ids=["plain", "gated"])
@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40), (50, 20)])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 30])
def test_every_frame_fits_its_terminal(
    tmp_path: Path, count: int, width: int, height: int, alpha: dict[str, float] | None
) -> None:
    views = [*others(tmp_path), *(running(tmp_path, f"arm-{i}/seed-1", alpha=alpha) for i in range(count))]
    shown = text_of(views, width, height)
    assert len(shown) <= height
    assert max(map(len, shown)) <= width
    assert f"{count} running" in shown[0] or not count


def test_a_running_run_is_shown_with_all_its_numbers(tmp_path: Path) -> None:
    shown = "\n".join(text_of([running(tmp_path, "pagelu/seed-1", alpha={"0": 0.25, "1": 0.75})], 80, 24))
    for expected in ("pagelu/seed-1", "4L-4H-128D-RoPE", "50%", "step 500 of 1,000", "ETA 1:02:05",
                     "checkpoint at 600 in 0:02:05", "loss 6.0000", "val 4.2500", "4,096 tok/s", "MFU 25.0%",
                     "CPU 183%", "memory 258 MB", "PID 4711", "α 0.25 0.75"):  # fmt: skip
        assert expected in shown


def test_several_running_runs_are_each_shown_on_a_small_screen(tmp_path: Path) -> None:
    views = [*others(tmp_path), *(running(tmp_path, f"arm-{i}/seed-1", alpha=ALPHA) for i in range(4))]
    shown = "\n".join(text_of(views, 80, 24))
    assert shown.count("checkpoint at 600") == 4
    assert shown.count("CPU 183%") == 4
    assert shown.count("α 0.50 to 0.61 in 12 layers") == 4
    assert "stopped (killed?)" in shown
    assert "pagelu/seed-0: the loss became nan" in shown
    assert "more" in shown


def test_on_a_small_screen_news_comes_before_what_waits_and_errors_leave_room(tmp_path: Path) -> None:
    nothing, some = history(tmp_path, 0), history(tmp_path, 200)
    views = [
        *(View(f"waits-{i}", "waiting", nothing) for i in range(30)),
        *(View(f"failed-{i}", "failed", some, 1_000, error=f"out of memory {i}") for i in range(9)),
        running(tmp_path, "runs"),
    ]
    shown = text_of(views, 80, 24)
    assert len(shown) <= 24
    assert sum("out of memory" in line for line in shown) == 3
    rows = [line.split()[0] for line in shown[2:] if not line.startswith(("│", "╭", "╰", "and"))]
    assert rows[:9] == [f"failed-{i}" for i in range(9)]
    assert rows.index("runs") < len(rows)
    assert not any(row.startswith("waits") for row in rows)
    assert "MFU 25.0%" in "".join(shown)


def test_without_a_height_nothing_is_left_out(tmp_path: Path) -> None:
    views = [*others(tmp_path), *(running(tmp_path, f"arm-{i}/seed-1") for i in range(20))]
    shown = " ".join(" ".join(text_of(views, 80, None)).split())
    assert all(view.name in shown for view in views)
    assert ("the loss became nan at step 203; " * 9).strip() in shown
    assert shown.count("PID 4711") == 20


def test_a_long_name_keeps_the_numbers_readable(tmp_path: Path) -> None:
    (row,) = [line for line in text_of([running(tmp_path, "a-very-long-name" * 6)], 80, 24) if "running  " in line]
    assert "500  50%" in row
    assert "1:02:05" in row


def rows_of(curve: str) -> list[str]:
    return [line[LABEL:] for line in curve.splitlines()[:-1]]


def test_the_curve_falls_with_the_loss() -> None:
    rows = rows_of(course([Point(step, 7 - step / 10) for step in range(1, 31)], [], 40, 8).plain)
    columns = [[r for r, row in enumerate(rows) if row[c].strip("\u2800 ")] for c in range(len(rows[0]))]
    inked = [column[0] for column in columns if column]
    assert len(inked) == len(columns)
    assert inked == sorted(inked)
    assert (inked[0], inked[-1]) == (0, len(rows) - 1)


def test_the_curve_says_what_its_axes_span_and_leaves_out_the_first_fall() -> None:
    train = [Point(step, 100.0 if step < 40 else 4 - step / 1_000) for step in range(10, 1_010, 10)]
    curve = course(train, [Point(500, 3.9)], 40, 8).plain
    assert "100" not in curve.splitlines()[0]
    assert "3.95" in curve.splitlines()[0]
    assert "3.00" in curve.splitlines()[-2]
    assert curve.splitlines()[-1].split() == ["50", "1,000"]
    assert curve.count("•") == 1


def test_the_curve_of_one_point_or_none_says_so() -> None:
    for train in ([], [Point(10, 3.0)]):
        assert "no curve yet" in course(train, [], 40, 8).plain
    assert "3.00" in course([Point(10, 3.0), Point(20, 3.0)], [], 40, 8).plain


class Terminal(Console):
    """A terminal of 80 × 24 that keeps what it is sent."""

    def __init__(self) -> None:
        super().__init__(width=80, height=24, file=io.StringIO(), force_terminal=True, record=True)


def test_where_there_is_no_terminal_one_frame_is_printed(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running", lines(train_record(100), eval_record(100, 4.5)))
    console = Console(width=400, file=io.StringIO(), record=True)  # the folder's own name may be long
    with held(run):
        watch(tmp_path, console=console)
    shown = console.export_text()
    assert shown.count("1 running") == 1
    assert "CPU –" not in shown
    assert "CPU " in shown


def test_the_dashboard_ends_by_itself_and_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", "running", lines(train_record(100)))
    console, slept = Terminal(), []
    with held(run) as (process,):

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) == 2:
                process.kill()
                process.wait()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(gatewright.watch.time, "sleep", sleep)
            watch(tmp_path, interval=0.25, console=console)
    assert slept == [0.25, 0.25]
    shown = console.export_text()
    assert shown.rstrip().endswith("Nothing is running.")
    assert "stopped (killed?)" in shown


def test_ctrl_c_leaves_quietly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gatewright.watch.time, "sleep", interrupt)
    run = write_run(tmp_path / "run", "running")
    with held(run):
        watch(tmp_path, console=Terminal())


def test_watching_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    write_run(tmp_path / "run", "finished")
    program = (
        "import sys; from gatewright.cli import main; import gatewright.watch as w; w.watch(sys.argv[1]); "
        "print([m for m in ('torch', 'scipy', 'pandas', 'matplotlib', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", os.linesep.join(done.stdout.splitlines())


def test_runs_that_learn_from_rewards_show_rewards_and_accuracies(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    records = [train_record(s, loss=0.001 * s, reward=0.5 + s / 1_000) for s in range(10, 101, 10)]
    accuracy = {"kind": "eval", "step": 100, "tokens": 102_400, "val_accuracy": 0.625}
    file.write_text(lines(*records, accuracy))
    made = History(file)
    made.update()
    assert [point.value for point in made.train] == pytest.approx([0.5 + s / 1_000 for s in range(10, 101, 10)])
    assert made.validation == [Point(100, 0.625)]
    view = View("jsd/seed-0", "running", made, 200)
    shown = "\n".join(text_of([view], 120, 24))
    assert "reward 0.6000 · accuracy 0.6250" in shown
    assert "loss" not in shown
    header = text_of([view, running(tmp_path, "gelu/seed-0")], 120, 24)[1]
    assert "reward / loss" in header
    assert "accuracy / val loss" in header
