"""What a checkpoint holds: weights, optimizer state and the trainer's place, none of it able to run code when read.

    model.safetensors      every parameter and buffer of the state dict; tied weights once
    companion.safetensors  those of the module trained beside the model, where there is one
    optimizer.safetensors  the optimizer's memory by parameter name
    trainer.json           step, best loss, clocks, losses since the last record, loss scale
    config.yaml            the run's configuration, so that the folder can be read alone
    config.json            the model's part of it as transformers reads it: ``from_pretrained`` opens the folder
    generation_config.json for a model of transformers: how it generates

The random state needs no file: batches and dropout are functions of (seed, step), and a scheduled α is in a buffer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from gatewright.config import from_dict
from gatewright.errors import RunError
from gatewright.reading import read_json_object
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel.base import METADATA, Parallel

WEIGHTS = "model.safetensors"
COMPANION = "companion.safetensors"
OPTIMIZER = "optimizer.safetensors"
TRAINER = "trainer.json"
CONFIG = "config.yaml"


@dataclass
class TrainerState:
    """Where a run stands after ``step`` updates; everything that is not in the model or the optimizer."""

    step: int = 0
    tokens: int = 0
    """Tokens learned from so far."""
    best: dict[str, float] = field(default_factory=dict)
    """The best evaluation's ``score`` (lower is better) ``val_step``, and the number that judged by its name."""
    val: dict[str, float | None] = field(default_factory=dict)
    """The latest evaluation's numbers, and ``val_step``, where they were taken."""
    score: float | None = None
    """The latest evaluation's score."""
    losses: list[float] = field(default_factory=list)
    """Training losses since the last record in metrics.jsonl."""
    final_train_loss: float | None = None
    """The training loss of the last record."""
    timed_tokens: int = 0
    timed_seconds: float = 0.0
    """Tokens and seconds of training proper: without the first step, evaluation and checkpoints."""
    seconds: float = 0.0
    """All time spent on the run, over its resumptions."""
    peak_memory_bytes: int = 0
    scaler: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(
    folder: Path,
    model: nn.Module,
    companion: nn.Module | None,
    optimizers: Optimizers,
    state: TrainerState,
    config_yaml: str,
    files: Mapping[str, Mapping[str, Any]],
    parallel: Parallel,
) -> None:
    """Write the files of a checkpoint into ``folder``; for `CheckpointStore.save`, on the main process.

    The others call `contribute` meanwhile.
    """
    parallel.save_model(model, folder / WEIGHTS)
    if companion is not None:
        safetensors.torch.save_model(companion, str(folder / COMPANION), metadata=METADATA)
    tensors = {name: tensor.contiguous() for name, tensor in optimizers.state_tensors().items()}
    safetensors.torch.save_file(tensors, folder / OPTIMIZER, metadata=METADATA)
    (folder / TRAINER).write_text(json.dumps(asdict(state), indent=1))
    (folder / CONFIG).write_text(config_yaml)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1))


def contribute(model: nn.Module, optimizers: Optimizers, parallel: Parallel) -> None:
    """What the other processes do while the main one writes a checkpoint: hand in their shares."""
    parallel.save_model(model, Path())
    optimizers.state_tensors()


def load_weights(folder: Path, model: nn.Module, name: str = WEIGHTS, parallel: Parallel | None = None) -> None:
    """Fill ``model`` from a checkpoint; `RunError` if the names or shapes are not the model's."""
    try:
        (parallel or Parallel(torch.device("cpu"))).load_model(model, folder / name)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise RunError(f"cannot load {folder / name}: {_first_lines(error)}") from error


def load_checkpoint(
    folder: Path, model: nn.Module, companion: nn.Module | None, optimizers: Optimizers
) -> TrainerState:
    """Restore modules and optimizer in place and return the trainer's state."""
    load_weights(folder, model, parallel=optimizers.parallel)
    if companion is not None:
        load_weights(folder, companion, COMPANION)
    try:
        optimizers.load_state_tensors(safetensors.torch.load_file(folder / OPTIMIZER))
        return _read_state(folder / TRAINER)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise RunError(f"cannot load checkpoint {folder}: {_first_lines(error)}") from error


def _read_state(path: Path) -> TrainerState:
    """The trainer's state; `ValueError` where it is not one."""
    state = from_dict(TrainerState, read_json_object(path, finite=False))
    numbers = [*state.best.values(), *(value for value in state.val.values() if value is not None)]
    if not all(isinstance(number, (int, float)) for number in numbers) or min(state.step, state.tokens) < 0:
        raise ValueError(f"{path.name} holds no state of training")
    return state


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
