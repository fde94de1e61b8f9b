"""The model of a run, with what the trainer and its records have to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gatewright.config import Config
from gatewright.hf.description import describe
from gatewright.model.build import build
from gatewright.model.cost import ModelCost, training_memory
from gatewright.model.cost import cost as cost_of
from gatewright.model.name import architecture_name
from gatewright.training.banner import model_rows


class Trainable(Protocol):
    """A `torch.nn.Module` that the trainer can train: our `LanguageModel`, or one of transformers in its clothes."""

    def __call__(self, input_ids: Tensor, *, targets: Tensor | None = None, reduction: str = "mean") -> Any:
        """``logits``, or with ``targets`` (aligned with ``input_ids``, −100 not scored) losses."""

    def set_step(self, step: int, max_steps: int) -> None:
        """Step what is scheduled."""

    def alphas(self) -> dict[str, float]:
        """Mean α by layer."""

    def reports(self) -> dict[str, float]:
        """More numbers to record."""


@dataclass(frozen=True)
class Subject:
    """A model and what is known about it before training."""

    model: Any
    """A `Trainable` module, on the device."""
    architecture: str
    cost: ModelCost
    description: Mapping[str, Any]
    """The ``config.json`` with which transformers opens a checkpoint."""
    rows: Mapping[str, str]
    """The start-up block's lines on architecture and cost, label → text."""


def subject_name(config: Config) -> str:
    """What the model is called before it is made; run directories get their names from it."""
    return architecture_name(config.model)


def open_subject(config: Config, device: torch.device) -> Subject:
    """Make the model that ``config`` describes, on ``device``, its parameters a function of ``train.seed``."""
    model = build(config.model, seed=config.train.seed, device=device)
    cost, architecture = cost_of(model), architecture_name(model)
    memory = training_memory(config.model, config.train.batch_size, precision=config.train.precision)
    return Subject(
        model=model,
        architecture=architecture,
        cost=cost,
        description=describe(config.model, config.plugins),
        rows=model_rows(config, architecture, cost, memory),
    )
