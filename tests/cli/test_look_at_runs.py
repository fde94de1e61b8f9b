"""`gatewright watch` and `gatewright compare` on real runs, as a user calls them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chapters import write_chapters

from gatewright.cli import main

OVERRIDES = ["model=small", "model.n_layer=1", "model.n_head=2", "model.n_embd=32", "model.block_size=32", "data=files",
             "data.tokenizer=byte", "train.batch_size=4", "train.eval_every=2", "train.save_every=1000",
             "train.log_every=2", "train.eval_tokens=512", "train.tensorboard=false"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus."""
    folder = tmp_path_factory.mktemp("look")
    write_chapters(folder)
    return folder


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "GATEWRIGHT_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def gatewright(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "gatewright", *arguments]


@pytest.fixture(scope="module")
def training(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A training that goes on for much longer than the test, and has written its first records."""
    overrides = ["model.feedforward=pagelu", "model.alpha=learnable", "train.max_steps=1000000", "out=runs/long"]
    call = gatewright(folder, "train", *OVERRIDES, *overrides, f"data.path={folder / 'corpus'}")
    process = subprocess.Popen(call, cwd=folder, env=environment(folder), stdout=subprocess.DEVNULL)
    try:
        metrics, deadline = folder / "runs/long/metrics.jsonl", time.monotonic() + 120
        while not (metrics.exists() and metrics.read_text().count("\n") > 3):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_training_is_watched_until_it_is_killed(folder: Path, training: subprocess.Popen[bytes]) -> None:
    def once() -> str:
        call = gatewright(folder, "watch", "runs", "--once")
        return subprocess.run(
            call, cwd=folder, env=environment(folder), capture_output=True, text=True, check=True
        ).stdout

    shown = once()
    assert shown.startswith("runs: 1 running\n")
    for expected in ("long", "of 1,000,000", "checkpoint at ", "tok/s", f"PID {training.pid}", "CPU ", "α 0.", "•"):
        assert expected in shown
    assert max(map(len, shown.splitlines())) <= 80
    live_and_interrupted(folder)
    training.kill()
    training.wait()
    shown = once()
    assert "stopped (killed?)" in shown
    assert "running" not in shown
    assert "PID" not in shown


def live_and_interrupted(folder: Path) -> None:
    """On a terminal the dashboard stays; Ctrl-C takes it away, without a word and without an error."""
    pty = pytest.importorskip("pty")
    own, terminal = pty.openpty()
    call = gatewright(folder, "watch", "runs", "--interval", "0.2")
    process = subprocess.Popen(
        call, cwd=folder, env={**environment(folder), "TERM": "xterm"}, stdin=terminal, stdout=terminal,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    seen = b""
    while seen.count(b"1 running") < 3:
        seen += os.read(own, 65_536)
    process.send_signal(signal.SIGINT)
    while b"\x1b[?1049l" not in seen:  # the terminal is itself again
        seen += os.read(own, 65_536)
    assert process.wait(timeout=30) == 0
    assert process.stderr is not None
    assert process.stderr.read() == b""
    os.close(own)


@pytest.fixture
def command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process, in the folder; returns exit status, output and errors."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("GATEWRIGHT_CACHE", str(folder / "cache"))

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["gatewright", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


def test_runs_are_compared_as_they_are_named_and_by_age(folder: Path, command: Callable[..., tuple]) -> None:
    base = [*OVERRIDES, "train.max_steps=4", f"data.path={folder / 'corpus'}"]
    for arm, feedforward in (("plain", "standard"), ("gated", "swiglu")):
        for seed in (0, 1):
            out = f"out=done/{arm}-{seed}"
            assert command("train", *base, f"model.feedforward={feedforward}", f"train.seed={seed}", out)[0] == 0
    code, shown, _ = command("compare", "done", "--baseline", "done/plain-0", "--json", "c.json", "--csv", "c.csv")
    assert code == 0
    assert "as asked" in shown
    (found,) = json.loads((folder / "c.json").read_text())["comparisons"]
    values = {
        name: json.loads((folder / f"done/{name}/summary.json").read_text())["final_val_loss"]
        for name in ("plain-0", "plain-1", "gated-0", "gated-1")
    }
    difference = (values["gated-0"] + values["gated-1"] - values["plain-0"] - values["plain-1"]) / 2
    assert found["n"] == 2
    assert found["mean_difference"] == pytest.approx(difference)
    assert "GELU" in found["baseline"]
    assert "SwiGLU" in found["arm"]
    assert abs(found["parameters"] / found["baseline_parameters"] - 1) < 0.05
    assert (folder / "c.csv").read_text().count("\n") == 3

    code, shown, _ = command("compare", "--latest", "2", "--in", "done")
    assert code == 0
    assert "SwiGLU" in shown
    assert "GELU-" not in shown
    assert "nothing to compare it with" in shown

    program = (
        "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules)); "
        "from gatewright.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "compare", "done"], capture_output=True, text=True, check=True, cwd=folder
    )
    assert done.stdout.splitlines()[-1] == "False"


MISTAKES = {
    "nothing to watch": (["watch", "corpus"], "corpus"),
    "nowhere to watch": (["watch", "nowhere"], "nowhere"),
    "nothing to compare": (["compare", "corpus"], "corpus"),
    "nothing named": (["compare"], "--latest"),
    "named and latest": (["compare", "done", "--latest", "2"], "--latest"),
    "in without latest": (["compare", "--in", "done"], "--latest"),
    "latest of nothing": (["compare", "--latest", "2", "--in", "nowhere"], "nowhere"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_clear_line(command: Callable[..., tuple], mistake: str) -> None:
    arguments, said = MISTAKES[mistake]
    code, _, err = command(*arguments)
    assert code == 2
    assert err.startswith("gatewright: ")
    assert err.count("\n") == 1
    assert said in err
