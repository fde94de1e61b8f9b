"""A place to run studies of fake trials in."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from gatewright.study import runner as runner_module
from gatewright.study.plan import Arm, Study
from gatewright.study.runner import run_study
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.study.trials import trials_of

FAKE = Path(__file__).with_name("fake_trial.py")
STUDY = Study("fake", "base", {"base": Arm(), "other": Arm()}, [0, 1, 2], base=["model=small"])
PAIR = Study("pair", "base", STUDY.arms, [0], base=["model=small"])
TUNED = Study(
    "tuned", "base", {"base": Arm(), "late": Arm()}, [0, 1, 2], base=["model=small"],
    learning_rates=[1e-4, 1e-3, 1e-2], tuning_seeds=[7, 8],
)  # fmt: skip


class Bench:
    """A place for a study of fake trials."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = StudyFolder(path / "study")
        self.behave()

    def behave(self, by_name: dict[str, str] | None = None, /, **behaviour: str) -> None:
        """Set what trials do, by ``arm_N`` or by name."""
        table = {f"{key.rpartition('_')[0]}/seed-{key.rpartition('_')[2]}": how for key, how in behaviour.items()}
        table |= by_name or {}
        (self.path / "behaviour.json").write_text(json.dumps(table))

    def run(self, study: Study = STUDY, **options):
        """Run the study; returns the analysis and what was printed."""
        console = Console(file=io.StringIO(), width=200)
        options = {"prepare": lambda config: None, **options}
        analysis = run_study(study, out=self.folder.path, command=fake_command, console=console, **options)
        return analysis, console.file.getvalue()

    def attempts(self, arm: str, seed: int, learning_rate: float | None = None) -> list[dict]:
        """What each start of a trial saw."""
        file = self.folder.run(Trial(arm, seed, learning_rate)) / "attempts.json"
        return json.loads(file.read_text()) if file.exists() else []

    def starts(self, study: Study) -> int:
        """How often a trial of ``study`` was started."""
        return sum(len(self.attempts(t.arm, t.seed, t.learning_rate)) for t in trials_of(study))

    def results(self) -> bytes:
        """``results.json`` as written."""
        return (self.folder.path / "results.json").read_bytes()

    def in_background(self, study: str = "STUDY", launcher: str = "None") -> subprocess.Popen:
        """The study of that name in this module, in a process of its own, to be signalled."""
        code = f"""
            import sys
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            import bench
            from gatewright.errors import RunError
            from gatewright.study.launch.slurm import SlurmLauncher
            from gatewright.study.runner import run_study
            try:
                out, launcher = {str(self.folder.path)!r}, {launcher}
                options = dict(command=bench.fake_command, prepare=lambda config: None, launcher=launcher)
                run_study(bench.{study}, out=out, **options)
            except RunError as error:
                print(f"{{type(error).__name__}}: {{error}}")
                sys.exit(1)
        """
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )


def undisturbed(path: Path) -> Bench:
    """A bench on which the study ``PAIR`` ran to its end; it wrote its numbers and no report."""
    bench = Bench(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner_module, "POLL_SECONDS", 0.02)
        patch.setattr(runner_module, "write_files", lambda analysis: analysis.write() or analysis.folder.path)
        bench.run(PAIR)
    return bench


def fake_command(config_file: Path, overrides: list[str]) -> list[str]:
    """The command of a fake trial."""
    return [sys.executable, str(FAKE), "train", str(config_file), *overrides]


def wait_until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Poll until ``condition`` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
