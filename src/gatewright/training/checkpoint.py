"""What a checkpoint holds: weights, optimizer state and the trainer's place, none of it able to run code when read.

    model.safetensors      every parameter and buffer of the state dict; tied weights once
    companion.safetensors  those of the module trained beside the model, where there is one
    optimizer.safetensors  the optimizer's memory by parameter name
    trainer.json           step, best loss, clocks, losses since the last record, loss scale
    config.yaml            the run's configuration, so that the folder can be read alone
    config.json            the model's part of it as transformers reads it: ``from_pretrained`` opens the folder
    generation_config.json for a model of transformers: how it generates

Where each process writes its share, ``model-00001-of-00002.safetensors`` and ``model.safetensors.index.json`` stand for
``model.safetensors``, ``optimizer-00001-of-00002.safetensors`` and so on for ``optimizer.safetensors``.

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
from torch import Tensor, nn

from gatewright.config import from_dict
from gatewright.errors import RunError
from gatewright.reading import complaint, read_json_object
from gatewright.run import WEIGHTS_INDEX
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel.base import OPTIMIZER, Parallel, first_names, on_cpu

COMPANION = "companion.safetensors"
METADATA = {"format": "pt"}
"""What transformers looks for in a safetensors file."""
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


@dataclass(frozen=True)
class Snapshot:
    """What one process writes of a checkpoint."""

    tensors: dict[str, dict[str, Tensor]]
    """By file its tensors."""
    share: dict[str, Tensor]
    """The optimizer's memory, where each process writes its share."""
    texts: dict[str, str]
    """By file its text."""
    parallel: Parallel

    def write(self, folder: Path) -> list[str]:
        """Write into ``folder``, as `CheckpointStore.save` asks for; the names of the files."""
        names: list[str] = []
        if self.parallel.shares_state:
            from gatewright.training.parallel.shards import write_optimizer

            where = self.parallel
            names += write_optimizer(folder, self.share, where.beside, where.rank, where.world_size)
        for name, tensors in self.tensors.items():
            safetensors.torch.save_file(tensors, folder / name, metadata=METADATA)
        for name, text in self.texts.items():
            (folder / name).write_text(text)
        return [*names, *self.tensors, *self.texts]


def take_snapshot(
    model: nn.Module,
    companion: nn.Module | None,
    optimizers: Optimizers,
    state: TrainerState,
    config_yaml: str,
    files: Mapping[str, Mapping[str, Any]],
    copy: bool,
) -> Snapshot:
    """A checkpoint of things as they are; all processes have to call it.

    With ``copy`` it stays that while training goes on, for as much memory on the CPU as weights and optimizer take.
    """
    parallel = optimizers.parallel
    weights = parallel.weights(model, copy)
    tensors, share, texts = dict(weights.files), dict[str, Tensor](), dict[str, str]()
    if parallel.shares_state:
        share = optimizers.state_tensors()
        if copy:
            from gatewright.training.parallel.shards import held

            share = held(share)
    if parallel.is_main:
        if companion is not None:
            beside = companion.state_dict()
            tensors[COMPANION] = {name: on_cpu(beside[name], copy) for name in first_names(companion)}
        if not parallel.shares_state:
            tensors[OPTIMIZER] = {name: on_cpu(value, copy) for name, value in optimizers.state_tensors().items()}
        texts = {TRAINER: json.dumps(asdict(state), indent=1), CONFIG: config_yaml}
        texts |= {name: json.dumps(content, indent=1) for name, content in files.items()}
        if weights.index is not None:
            texts[WEIGHTS_INDEX] = json.dumps(weights.index, indent=1)
    return Snapshot(tensors, share, texts, parallel)


def load_weights(folder: Path, model: nn.Module, parallel: Parallel | None = None) -> None:
    """Fill ``model`` from a checkpoint; `RunError` if the names or shapes are not the model's."""
    try:
        (parallel or Parallel(torch.device("cpu"))).load_model(model, folder)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise RunError(f"cannot load the weights in {folder}: {complaint(error)}") from error


def load_checkpoint(
    folder: Path, model: nn.Module, companion: nn.Module | None, optimizers: Optimizers
) -> TrainerState:
    """Restore modules and optimizer in place and return the trainer's state."""
    load_weights(folder, model, optimizers.parallel)
    try:
        if companion is not None:
            safetensors.torch.load_model(companion, folder / COMPANION)
        optimizers.load_state_tensors(optimizers.parallel.read_optimizer(folder, optimizers.remembered))
        return _read_state(folder / TRAINER)
    except (OSError, SafetensorError, RuntimeError, ValueError, TypeError) as error:
        raise RunError(f"cannot load checkpoint {folder}: {complaint(error)}") from error


def _read_state(path: Path) -> TrainerState:
    """The trainer's state; `ValueError` where it is not one."""
    state = from_dict(TrainerState, read_json_object(path, finite=False))
    numbers = [*state.best.values(), *(value for value in state.val.values() if value is not None)]
    if not all(isinstance(number, (int, float)) for number in numbers) or min(state.step, state.tokens) < 0:
        raise ValueError(f"{path.name} holds no state of training")
    return state
