"""Signals that ask a run to leave: SIGTERM, Ctrl-C. What gives it no time to is in tests/faults."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

import gatewright
from gatewright.config import Config, to_yaml
from gatewright.run import Run

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

PREAMBLE = """
    import os, signal, sys, time
    from pathlib import Path
    import torch
    import gatewright
    from gatewright.config import from_yaml
    torch.set_num_threads(1)
    config = from_yaml(Path({file!r}).read_text())
"""


def launch(config: Config, body: str, folder: Path) -> subprocess.Popen[str]:
    """A process that reads ``config`` and runs ``body``."""
    file = folder / "request.yaml"
    file.write_text(to_yaml(config))
    script = textwrap.dedent(PREAMBLE.format(file=str(file))) + textwrap.dedent(body)
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def losses(run: Run) -> list[tuple[int, float]]:
    return [(record["step"], record["loss"]) for record in run.train_records()]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves(
    tiny: Callable[..., Config], console: Console, tmp_path: Path, number: signal.Signals
) -> None:
    config = tiny(max_steps=100_000, eval_every=100_000, save_every=100_000, warmup_steps=5, schedule="constant")
    process = launch(config, "print('status', gatewright.train(config).status)", tmp_path)
    metrics = Path(config.out) / "metrics.jsonl"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size > 500, process)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "status interrupted" in output
    assert f"{number.name}: stopped after step" in output
    assert f"gatewright train --config {Path(config.out) / 'config.yaml'} resume=auto" in output

    run = Run(config.out)
    assert run.status == "interrupted"
    steps = run.summary["steps"]
    assert run.checkpoint("last").name == f"step-{steps}"
    config.resume, config.train.max_steps = "auto", steps + 3
    resumed = gatewright.train(config, console=console)
    whole = tiny("whole", max_steps=steps + 3, eval_every=100_000, warmup_steps=5, schedule="constant")
    assert losses(resumed) == losses(gatewright.train(whole, console=console))
