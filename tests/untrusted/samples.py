"""Sound things to be damaged: a run and a study, as training and a study leave them, of the smallest size."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path

from rich.console import Console

import gatewright
from gatewright.config import Config, DataConfig, ModelConfig, TrainConfig
from gatewright.run import Run
from gatewright.study.plan import load_study
from gatewright.study.store import StudyFolder
from gatewright.study.trials import make_plan

STUDY = """
name: sample
about: A study to be damaged.
base: [model=small, data=files, data.path={text}, data.tokenizer=byte, train.max_steps=4, train.learning_rate=1e-3]
seeds: [0, 1]
baseline: plain
equivalence_margin: 0.005
arms:
  plain: {{}}
  gated: {{overrides: [model.feedforward=pagelu, model.alpha=learnable], about: an α that is learned}}
"""


def write_text(folder: Path) -> Path:
    """A few documents."""
    folder.mkdir()
    words = random.Random(0)
    for number in range(12):
        (folder / f"{number}.txt").write_text(" ".join(words.choices(["the", "gate", "opens", "and", "shuts"], k=40)))
    return folder


def write_run(out: Path, text: Path, *, tokenizer: str = "byte", **model: object) -> Run:
    """A run of four steps."""
    sizes = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 16, **model}
    config = Config(
        model=ModelConfig(**sizes),  # type: ignore[arg-type]
        data=DataConfig(source="files", path=str(text), tokenizer=tokenizer, validation_fraction=0.2),
        train=TrainConfig(
            batch_size=2, max_steps=4, log_every=1, eval_every=2, eval_tokens=128, save_every=2, tensorboard=False
        ),
        out=str(out),
        device="cpu",
    )
    return gatewright.train(config, console=Console(file=io.StringIO()))


def write_study(folder: Path, text: Path, run: Run) -> Path:
    """A study of two arms and two seeds, whose runs are copies of one run with losses of their own."""
    folder.mkdir()
    file = folder.parent / f"{folder.name}.yaml"
    file.write_text(STUDY.format(text=text))
    study = load_study(file)
    place = StudyFolder(folder)
    place.adopt(make_plan(study))
    for number, (arm, seed) in enumerate((arm, seed) for seed in study.seeds for arm in study.arms):
        copy = folder / "runs" / arm / f"seed-{seed}"
        shutil.copytree(run.path, copy)
        summary = json.loads((copy / "summary.json").read_text())
        summary |= {"seed": seed, "final_val_loss": summary["final_val_loss"] + 0.01 * number}
        (copy / "summary.json").write_text(json.dumps(summary))
    return folder
