"""A disk that fills up during a checkpoint: one clear line, earlier checkpoints intact, and the run goes on later."""

from __future__ import annotations

import errno
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import gatewright
from gatewright.config import Config, to_yaml
from gatewright.errors import RunError
from gatewright.run import Run
from gatewright.training import checkpoint
from gatewright.training.store import fault


def test_full_disk_in_the_middle_of_a_checkpoint(
    tiny: Callable[..., Config], console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file = checkpoint.safetensors.torch.save_file

    def save_until_full(tensors: Any, path: Path, metadata: Any = None) -> None:
        if ".step-8." in str(path):
            Path(path).write_bytes(b"half a file")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        save_file(tensors, path, metadata)

    config = tiny()
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.safetensors.torch, "save_file", save_until_full)
        with pytest.raises(RunError) as caught:
            gatewright.train(config, console=console)
    message = str(caught.value)
    assert message.startswith("cannot write checkpoint ")
    assert "step-8: No space left on device; earlier checkpoints are intact" in message
    run = Run(config.out)
    assert run.status == "failed"
    assert [path.name for path in (run.path / "checkpoints").iterdir()] == ["step-4"]
    assert fault(run.checkpoint()) is None

    config.resume = "auto"  # after making room
    whole = gatewright.train(tiny("whole"), console=console)
    assert gatewright.train(config, console=console).summary["final_val_loss"] == whole.summary["final_val_loss"]


@pytest.mark.skipif(sys.platform == "win32", reason="file size limits are POSIX")
def test_the_kernel_refusing_to_write_is_one_line_too(tiny: Callable[..., Config], tmp_path: Path) -> None:
    """The real thing: a limit on file size makes the operating system refuse the write of the weights."""
    config = tiny(save_every=6, log_every=12)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    script = f"""
        import resource
        from pathlib import Path
        import gatewright
        from gatewright.config import from_yaml
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            gatewright.train(from_yaml(Path({str(file)!r}).read_text()))
        except gatewright.RunError as error:
            print("RunError:", error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )
    errors = [line for line in done.stdout.splitlines() if line.startswith("RunError:")]
    assert len(errors) == 1, done.stderr
    assert "cannot write checkpoint" in errors[0]
    assert "File too large" in errors[0]
    run = Run(config.out)
    assert run.status == "failed"
    assert run.checkpoints() == []
