"""Files made to keep a reader busy for ever, to fill the memory, to lead elsewhere, or to run something."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from rich.console import Console
from test_damaged_files import compared, configured, evaluated, loaded, read, reported, shown, spoken, watched

from gatewright.errors import RunError, UserError
from gatewright.run import Run
from gatewright.study.board import status

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pipes, links and limits are POSIX")

SECONDS, MEBIBYTES = 120, 300
"""Far more than any of these takes, on a machine with other things to do."""


@contextmanager
def bounded() -> Iterator[None]:
    """Within the time, and without the process having grown."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"still reading after {SECONDS} s")

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < MEBIBYTES, f"grew by {grown:.0f} MiB"


def aliases(depth: int = 60) -> str:
    """YAML that refers to itself: 2^60 values in sixty lines."""
    return ", ".join(["[&x0 [1, 1]"] + [f"&x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, depth)]) + "]"


def claims_much(path: Path) -> None:
    """An array of 2^60 numbers in a hundred bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**59, 2)})
    path.write_bytes(header.getvalue() + bytes(16))


def safetensors(header: dict | bytes, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text


def sealed(checkpoint: Path) -> None:
    """Make a checkpoint's manifest fit whatever its files are now."""
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    for name in manifest["files"]:
        if (file := checkpoint / name).is_file():
            content = file.read_bytes()
            manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (checkpoint / "manifest.json").write_text(json.dumps(manifest))


def sparse(path: Path) -> None:
    """A terabyte that takes no space: archives can hold such files."""
    with path.open("wb") as file:
        file.truncate(2**40)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


WEIGHTS = "checkpoints/step-4/model.safetensors"
HUGE = {"embedding.weight": {"dtype": "F32", "shape": [2**30, 2**30], "data_offsets": [0, 2**62]}}
DEEP = "[" * 100_000
TRAPS: dict[str, tuple[str, Callable[[Path], object], tuple[Callable[[Path], object], ...]]] = {
    "aliases in config.yaml": (
        "config.yaml", lambda p: p.write_text(f"model: {{alpha: {aliases()}}}"), (read, configured, watched),
    ),
    "a cycle in config.yaml": ("config.yaml", lambda p: p.write_text("model: {alpha: &a [*a]}"), (read, configured)),
    "depth in config.yaml": ("config.yaml", lambda p: p.write_text("a: " + DEEP[:1_000]), (read, configured, watched)),
    "an object in config.yaml": (
        "config.yaml", lambda p: p.write_text("a: !!python/object/apply:os.system [exit]"), (read, configured),
    ),
    "depth in summary.json": ("summary.json", lambda p: p.write_text(DEEP), (read, watched, compared)),
    "a terabyte of summary.json": ("summary.json", sparse, (read, watched, compared)),
    "a pipe for summary.json": ("summary.json", pipe, (read, watched, compared)),
    "an endless environment.json": ("environment.json", endless, (read, watched, compared)),
    "depth in metrics.jsonl": ("metrics.jsonl", lambda p: p.write_text(DEEP + "\n"), (read, watched, compared)),
    "a pipe for metrics.jsonl": ("metrics.jsonl", pipe, (read, watched, compared)),
    "an endless metrics.jsonl": ("metrics.jsonl", endless, (read, watched, compared)),
    "an array of 2^60 losses": ("evaluation.npy", claims_much, (evaluated, compared)),
    "depth in tokenizer.json": ("tokenizer/tokenizer.json", lambda p: p.write_text(DEEP), (spoken,)),
    "a pipe for tokenizer.json": ("tokenizer/tokenizer.json", pipe, (spoken,)),
    "a header of 2^62 bytes": (WEIGHTS, lambda p: p.write_bytes(safetensors(b"{}", 2**62)), (loaded,)),
    "a tensor of 2^60 numbers": (WEIGHTS, lambda p: p.write_bytes(safetensors(HUGE)), (loaded,)),
    "depth in a header": (WEIGHTS, lambda p: p.write_bytes(safetensors(DEEP.encode())), (loaded,)),
    "endless weights": (WEIGHTS, endless, (loaded,)),
    "depth in trainer.json": ("checkpoints/step-4/config.json", lambda p: p.write_text(DEEP), (loaded,)),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_a_trap_in_a_run_costs_nothing(name: str, run: Run, tmp_path: Path) -> None:
    file, spring, readers = TRAPS[name]
    place = Path(shutil.copytree(run.path, tmp_path / "run"))
    spring(place / file)
    sealed(place / "checkpoints" / "step-4")
    shutil.rmtree(place / "checkpoints" / "step-2")
    refused = 0
    with bounded():
        for reader in readers:
            try:
                reader(place)
            except (UserError, RunError):
                refused += 1
    # a damaged metrics.jsonl is a run without records, and watching shows what cannot be read
    assert refused or file == "metrics.jsonl"


@pytest.mark.parametrize(
    ("file", "spring"),
    [
        ("study.yaml", lambda p: p.write_text(f"{p.read_text()}noise: {aliases()}")),
        ("study.yaml", lambda p: p.write_text("a: " + DEEP[:1_000])),
        ("study.yaml", pipe),
        ("plan.json", lambda p: p.write_text(DEEP)),
        ("plan.json", sparse),
        ("plan.json", lambda p: p.write_text(p.read_text().replace('"plain": {', '"../../plain": {', 1))),
    ],
    ids=["aliases", "depth", "pipe", "deep plan", "terabyte of plan", "an arm elsewhere"],
)
def test_a_trap_in_a_study_costs_nothing(
    file: str, spring: Callable[[Path], object], study: Path, tmp_path: Path
) -> None:
    place = Path(shutil.copytree(study, tmp_path / "study"))
    spring(place / file)
    with bounded():
        for reader in (reported, lambda path: shown(status(path))):
            with pytest.raises(UserError):
                reader(place)


def test_a_manifest_cannot_have_files_elsewhere_read(run: Run, tmp_path: Path) -> None:
    place = Path(shutil.copytree(run.path, tmp_path / "run"))
    (tmp_path / "secret").write_text("secret")
    manifest = place / "checkpoints" / "step-4" / "manifest.json"
    values = json.loads(manifest.read_text())
    values["files"] |= {"../../../secret": {"bytes": 6, "sha256": hashlib.sha256(b"secret").hexdigest()}}
    manifest.write_text(json.dumps(values))
    assert Run(place).checkpoint("last").name == "step-2"


PICKLED = b"cos\nsystem\n(S'touch executed'\ntR."


@pytest.mark.parametrize("name", ["pytorch_model.bin", "optimizer.pt", "model.pt", "training_args.bin"])
def test_pickles_beside_the_weights_are_not_opened(
    name: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = Path(shutil.copytree(run.path, tmp_path / "run"))
    checkpoint = place / "checkpoints" / "step-4"
    (checkpoint / name).write_bytes(PICKLED)
    loaded(place)
    (checkpoint / "model.safetensors").unlink()
    shutil.rmtree(place / "checkpoints" / "step-2")
    with pytest.raises(UserError, match="no usable checkpoint"):
        loaded(place)
    assert not (tmp_path / "executed").exists()


def test_arrays_of_objects_are_refused(run: Run, tmp_path: Path) -> None:
    place = Path(shutil.copytree(run.path, tmp_path / "run"))
    np.save(place / "evaluation.npy", np.array([[{}, 1.0]], dtype=object))
    with pytest.raises(UserError, match=r"evaluation.npy: no sound array"):
        evaluated(place)


CODE = "import pathlib; pathlib.Path('executed').write_text('')"


def test_a_foreign_folder_cannot_bring_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What transformers calls remote code: refused without a question, whoever asks."""
    from gatewright.data import load_tokenizer
    from gatewright.evaluate import find_target
    from gatewright.hf import from_hf
    from gatewright.pretrained.source import find_source

    monkeypatch.chdir(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "code.py").write_text(CODE)
    auto = {
        "AutoConfig": "code.Config",
        "AutoModelForCausalLM": "code.Model",
        "AutoTokenizer": ["code.Tokenizer", None],
    }
    (theirs / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": auto}))
    (theirs / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "Theirs", "auto_map": auto}))
    for attempt in (
        lambda: find_source(str(theirs)).config,
        lambda: find_target(str(theirs)),
        lambda: load_tokenizer(theirs),
        lambda: from_hf(theirs),
    ):
        with pytest.raises(UserError, match=r"trust_remote_code|custom code"):
            attempt()
    assert not (tmp_path / "executed").exists()


NAME = "\x1b]0;owned\x07[red]\u202ex"


def test_names_do_not_act_in_the_terminal(run: Run, tmp_path: Path) -> None:
    from gatewright.terminal import Terminal
    from gatewright.watch.runs import Watch
    from gatewright.watch.screen import frame

    place = Path(shutil.copytree(run.path, tmp_path / NAME))
    summary = json.loads((place / "summary.json").read_text())
    for status_of_run, error in (("failed", f"why: {NAME}"), ("running", None)):
        changed = {"status": status_of_run, "error": error, "architecture": NAME}
        (place / "summary.json").write_text(json.dumps(summary | changed))
        out = io.StringIO()
        console = Terminal(file=out, force_terminal=True, width=200)
        console.print(frame(NAME, Watch(tmp_path).look(1.8e9), 200))
        assert "\x1b]0" not in out.getvalue()
        assert "\x07" not in out.getvalue()
        assert "\u202e" not in out.getvalue()
        assert "[red]" in out.getvalue()


def test_an_ordinary_console_shows_what_a_terminal_of_ours_shows() -> None:
    from gatewright.terminal import Terminal

    shown_by = [io.StringIO(), io.StringIO()]
    for console in (Console(file=shown_by[0], force_terminal=True), Terminal(file=shown_by[1], force_terminal=True)):
        console.print("[bold]α is 0.5[/bold]\n\ttwo", {"a": 1})
    assert shown_by[0].getvalue() == shown_by[1].getvalue()
    assert "\x1b[1m" in shown_by[1].getvalue()
