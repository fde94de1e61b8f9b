"""Whatever a run, a study or prepared data hold: reading them ends well or in an error of ours."""

from __future__ import annotations

import io
import json
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from effort import EFFORT, STUDY_EFFORT
from hypothesis import given
from hypothesis import strategies as st
from mutations import as_json, as_json_lines, as_yaml, damaged_files
from rich.console import Console

from gatewright.config import DataConfig, load_config
from gatewright.data import BlockSampler, prepare
from gatewright.errors import RunError, UserError
from gatewright.run import Run
from gatewright.study.analysis import analyse
from gatewright.study.board import status, verdict_table
from gatewright.study.compare import collect_runs, compare_runs
from gatewright.study.contents import report_contents
from gatewright.study.explorer import explorer_data
from gatewright.study.launch.record import write_record
from gatewright.study.noise import read_spreads
from gatewright.study.ranking import ranking
from gatewright.study.store import StudyFolder
from gatewright.study.trial import Trial
from gatewright.training.checkpoint import load_checkpoint
from gatewright.training.optimizer import Optimizers
from gatewright.training.resume import check_same_run
from gatewright.watch.runs import Watch
from gatewright.watch.screen import frame

LONGEST = 2_000
"""Characters of a message: one line that can be read."""


def shown(thing: Any) -> None:
    """As a terminal shows it."""
    Console(file=io.StringIO(), width=150).print(thing)


def compared(place: Path) -> None:
    found = compare_runs(collect_runs([place]))
    shown(ranking(found, 150))
    found.to_dict()


def reported(place: Path) -> None:
    analysis = analyse(place)
    json.dumps(analysis.to_dict())
    analysis.table()
    shown(verdict_table(analysis))
    report_contents(analysis)
    explorer_data(analysis)


def watched(place: Path) -> None:
    shown(frame("title", Watch(place).look(1.8e9), 150))


def read(place: Path) -> None:
    run = Run(place)
    _ = run.config, run.environment, run.summary, run.status, run.train_records(), run.eval_records()
    check_same_run(run.config, run.config, place)


def loaded(place: Path) -> None:
    run = Run(place)
    run.model("last")(torch.zeros(1, 4, dtype=torch.long))


def resumed(place: Path) -> None:
    run = Run(place)
    from gatewright.model.build import build

    model = build(run.config.model)
    optimizers = Optimizers(model, run.config.train, torch.device("cpu"))
    load_checkpoint(run.checkpoint("last"), model, None, optimizers)
    model(torch.zeros(1, 4, dtype=torch.long)).logits.sum().backward()
    for optimizer in optimizers.optimizers:
        optimizer.step()


def spoken(place: Path) -> None:
    tokenizer = Run(place).tokenizer
    tokenizer.decode(tokenizer.encode("the gate é\n"))
    tokenizer.encode_batch(["the gate", ""])
    _ = tokenizer.token_bytes


def configured(place: Path) -> None:
    load_config([], place / "config.yaml")


def evaluated(place: Path) -> None:
    Run(place).evaluated_sequences()


def data_config(text: Path, cache: Path) -> DataConfig:
    return DataConfig("files", str(text), tokenizer="byte", validation_fraction=0.2, cache_dir=str(cache))


def sampled(place: Path) -> None:
    """Prepared data that are damaged are made again, so that training never sees them."""
    with warnings.catch_warnings(action="ignore"):
        corpus = prepare(data_config(place.parents[3] / "text", place.parents[1]))
    assert corpus.folder == place
    text = corpus.tokenizer.decode(corpus.train.document(0))
    assert set(text.split()) <= {"the", "gate", "opens", "and", "shuts"}
    corpus.describe()
    batch, _ = BlockSampler(corpus.train, 8, 4, seed=0).batch(0)
    assert int(batch.max()) < corpus.tokenizer.vocab_size
    for number in range(corpus.train.documents):
        corpus.train.document(number)


@dataclass(frozen=True)
class Surface:
    """A file that may come from outside, what reads it, and how its structure is written."""

    file: str
    """or a pattern"""
    readers: tuple[Callable[[Path], Any], ...]
    write: Callable[[Any], bytes] | None = None
    of: str = "run"
    mends: bool = False
    """whether a checkpoint's manifest is made to fit: damage that somebody meant"""


RUN_READERS = (read, watched, compared)
STUDY_READERS = (reported, lambda place: shown(status(place)), watched, compared)
SURFACES = [
    Surface("config.yaml", (*RUN_READERS, configured), as_yaml),
    Surface("summary.json", RUN_READERS, as_json),
    Surface("environment.json", RUN_READERS, as_json),
    Surface("metrics.jsonl", RUN_READERS, as_json_lines),
    Surface("evaluation.npy", (evaluated,)),
    Surface("tokenizer/tokenizer.json", (spoken,), as_json),
    Surface("tokenizer/tokenizer_config.json", (spoken,), as_json),
    Surface("checkpoints/step-4/manifest.json", (loaded, resumed), as_json),
    Surface("checkpoints/step-4/trainer.json", (resumed,), as_json, mends=True),
    Surface("checkpoints/step-4/config.json", (loaded,), as_json, mends=True),
    Surface("checkpoints/step-4/model.safetensors", (loaded, resumed), mends=True),
    Surface("checkpoints/step-4/optimizer.safetensors", (resumed,), mends=True),
    Surface("study.yaml", STUDY_READERS, as_yaml, "study"),
    Surface("plan.json", STUDY_READERS, as_json, "study"),
    Surface("results.json", (lambda place: read_spreads(place, "val_loss"),), as_json, "study"),
    Surface("runs/gated/seed-1/summary.json", STUDY_READERS, as_json, "study"),
    Surface("runs/gated/seed-1/environment.json", STUDY_READERS, as_json, "study"),
    Surface("runs/gated/seed-1/metrics.jsonl", STUDY_READERS, as_json_lines, "study"),
    Surface("runs/gated/seed-1/config.yaml", STUDY_READERS, as_yaml, "study"),
    Surface("runs/gated/seed-1/evaluation.npy", (reported,), None, "study"),
    Surface("trials/gated/seed-1.error", STUDY_READERS, None, "study"),
    Surface("trials/gated/seed-1.attempts", STUDY_READERS, as_json_lines, "study"),
    Surface("trials/gated/seed-1.job", STUDY_READERS, as_json, "study"),
    Surface("index.json", (sampled,), as_json, "data"),
    Surface("train*.bin", (sampled,), None, "data"),
    Surface("train*.offsets*", (sampled,), None, "data"),
]


def ends_well(reader: Callable[[Path], Any], place: Path) -> None:
    """Call it; any error but ours, and a message nobody could read, is a failure."""
    try:
        reader(place)
    except (UserError, RunError) as error:
        message = str(error)
    else:
        return
    assert 0 < len(message.strip()) < LONGEST, f"{len(message)} characters: {message[:200]}"


def with_notes(study: Path) -> Path:
    """What a study notes about trials that were lost, or run elsewhere."""
    place, trial = StudyFolder(study), Trial("gated", 1)
    place.error_file(trial).parent.mkdir(parents=True)
    place.error_file(trial).write_text("killed by SIGKILL\n")
    place.attempts_file(trial).write_text('{"how": "killed by SIGKILL", "step": 2}\n')
    write_record(place, trial, "slurm", "123")
    return study


@pytest.fixture(scope="session")
def victims(place: Path, run: Run, study: Path) -> dict[str, Path]:
    """Copies that are damaged and mended again and again."""
    analyse(study).write()
    folder = place / "victims"
    return {
        "run": Path(shutil.copytree(run.path, folder / "run")),
        "study": with_notes(Path(shutil.copytree(study, folder / "study"))),
        "data": prepare(data_config(place / "text", folder / "cache")).folder,
    }


def structure_of(content: bytes, write: Callable[[Any], bytes]) -> Any:
    if write is as_yaml:
        return yaml.safe_load(content)
    return [json.loads(line) for line in content.splitlines()] if write is as_json_lines else json.loads(content)


@pytest.mark.parametrize("surface", [s for s in SURFACES if s.of != "study"], ids=lambda s: f"{s.of} {s.file}")
@EFFORT
@given(data=st.data())
def test_runs_and_prepared_data(data: st.DataObject, surface: Surface, victims: dict[str, Path]) -> None:
    only_errors_of_ours_come_out(data, surface, victims)


@pytest.mark.parametrize("surface", [s for s in SURFACES if s.of == "study"], ids=lambda s: s.file)
@STUDY_EFFORT
@given(data=st.data())
def test_studies(data: st.DataObject, surface: Surface, victims: dict[str, Path]) -> None:
    only_errors_of_ours_come_out(data, surface, victims)


def only_errors_of_ours_come_out(data: st.DataObject, surface: Surface, victims: dict[str, Path]) -> None:
    place = victims[surface.of]
    (file,) = place.glob(surface.file)
    sound = file.read_bytes()
    manifest = file.parent / "manifest.json"
    recorded = manifest.read_bytes() if surface.mends else b""
    structure = None if surface.write is None else structure_of(sound, surface.write)
    damaged = data.draw(damaged_files(sound, structure, surface.write or as_json))
    try:
        file.write_bytes(damaged)
        if surface.mends:
            manifest.write_bytes(fitting(recorded, file.name, damaged))
        for reader in surface.readers:
            ends_well(reader, place)
    finally:
        file.write_bytes(sound)
        if surface.mends:
            manifest.write_bytes(recorded)


def fitting(manifest: bytes, name: str, content: bytes) -> bytes:
    import hashlib

    values = json.loads(manifest)
    values["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return json.dumps(values).encode()
