"""The progress bar of a terminal and the plain lines of a file."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from gatewright.training.console import ConsoleLog, si

RECORD: dict[str, Any] = {
    "kind": "train", "step": 10, "tokens": 5120, "loss": 3.25, "lr": 1e-3, "grad_norm": 0.5, "grad_mean": 1e-5,
    "grad_std": 2e-3, "alpha": {"0": 0.25, "1": 0.75}, "tokens_per_second": 2048.0, "flops_per_second": 3e12,
    "mfu": 0.4, "memory_bytes": 12_000_000, "peak_memory_bytes": 15_000_000, "reserved_memory_bytes": 16_000_000,
}  # fmt: skip


def printed(terminal: bool, **changes: Any) -> str:
    file = io.StringIO()
    log = ConsoleLog(Console(file=file, force_terminal=terminal, width=160), max_steps=40)
    log.start({"architecture": "2L-2H-32D"}, step=0)
    log.advance(10)
    log.append({**RECORD, **changes})
    log.close()
    return file.getvalue()


def test_plain_lines_without_a_terminal() -> None:
    text = printed(terminal=False)
    assert "\x1b" not in text
    assert "step     10/40 │ loss 3.2500 │ 2,048 tok/s │ lr 1.00e-03 │ ETA 0:00:08" in text  # 15360 tokens to go
    assert "MFU 40.00% │ achieved 3 TFLOP/s │ memory 12 MB, peak 15 MB, reserved 16 MB" in text
    assert "gradients: norm 0.5000 │ clipped: mean 1.00e-05, std 2.00e-03" in text
    assert "α by layer: 0.250 0.750" in text


def test_progress_bar_on_a_terminal() -> None:
    text = printed(terminal=True)
    assert "10/40" in text
    assert "━" in text
    assert "loss 3.2500" in text


def test_records_in_quick_succession_are_not_all_shown_but_the_last_is() -> None:
    file = io.StringIO()
    log = ConsoleLog(Console(file=file, width=160), max_steps=40)
    for step in range(1, 41):
        log.append({**RECORD, "step": step})
    log.append({"kind": "eval", "step": 40, "val_loss": 3.5})
    log.close()
    shown = [line for line in file.getvalue().splitlines() if line.startswith("step")]
    assert shown[0].startswith("step      1/40")
    assert shown[-1].startswith("step     40/40")
    assert len(shown) < 10
    assert "eval     40 │ val loss 3.5000" in file.getvalue()


def test_unknown_speed_and_peak_are_said_to_be_unknown() -> None:
    text = printed(terminal=False, mfu=None)
    assert "MFU unknown (no peak for this device) │ achieved 3 TFLOP/s" in text
    text = printed(terminal=False, tokens_per_second=None, flops_per_second=None, mfu=None)
    assert "– tok/s" in text
    assert "ETA –" in text
    assert "MFU not known yet: the first step is not timed" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(855.2e6, "855 MFLOP"), (999, "999 FLOP"), (1000, "1 kFLOP"), (2.5e15, "2.5 PFLOP"), (None, "–")],
)
def test_si_prefixes(value: float | None, text: str) -> None:
    assert si(value, "FLOP") == text
