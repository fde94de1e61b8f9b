"""The model of a run, with what the trainer and its records have to know about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from gatewright.config import Config
from gatewright.hf.description import describe
from gatewright.model.build import build
from gatewright.model.cost import ModelCost
from gatewright.model.cost import cost as cost_of
from gatewright.model.footprint import remembered_memory
from gatewright.model.name import architecture_name
from gatewright.training.banner import model_rows

if TYPE_CHECKING:
    from gatewright.pretrained.source import Source


class Trainable(Protocol):
    """A `torch.nn.Module` that the trainer can train: our `LanguageModel`, or one of transformers in its clothes."""

    def __call__(self, input_ids: Tensor, *, targets: Tensor | None = None, reduction: str = "mean") -> Any:
        """``logits``, or with ``targets`` (aligned with ``input_ids``, −100 not scored) losses."""

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
    files: Mapping[str, Mapping[str, Any]]
    """By name the JSON files with which transformers opens a checkpoint, ``config.json`` first of all."""
    rows: Mapping[str, str]
    """The start-up block's lines on architecture and cost, label → text."""


def subject_name(config: Config) -> str:
    """What the model is called before it is made; run directories get their names from it."""
    source = _foreign(config)
    if source is None:
        return architecture_name(config.model)
    from gatewright.pretrained.name import pretrained_name
    from gatewright.pretrained.opening import sketch

    return pretrained_name(sketch(source, config))


def subject_cost(config: Config) -> ModelCost:
    """What the model costs, before it is made."""
    source = _foreign(config)
    if source is None:
        return cost_of(config.model)
    from gatewright.pretrained.cost import pretrained_cost
    from gatewright.pretrained.opening import sketch

    return pretrained_cost(sketch(source, config), config.model.block_size)


def subject_memory(config: Config) -> dict[str, int]:
    """Bytes that training the model takes, by use."""
    source, options = _foreign(config), config.train
    if source is None:
        return remembered_memory(config.model, options.batch_size, options.precision)
    from gatewright.pretrained import cost
    from gatewright.pretrained.opening import sketch

    length = config.model.block_size
    return cost.training_memory(sketch(source, config), length, options.batch_size, options.precision)


def open_subject(config: Config, device: torch.device) -> Subject:
    """Make the model that ``config`` describes, on ``device``, its parameters a function of ``train.seed``.

    With ``init`` they are the trained ones, those of new gates alone are drawn.
    """
    source = _foreign(config)
    if source is not None:
        from gatewright.pretrained.subject import open_pretrained

        return open_pretrained(source, config, device)
    if config.init is None:
        model = build(config.model, seed=config.train.seed, device=device)
    else:
        from gatewright.hf import from_hf
        from gatewright.pretrained.source import find_source

        model = from_hf(find_source(config.init).place).to(device)
    cost, architecture = cost_of(model), architecture_name(model)
    memory = subject_memory(config)
    return Subject(
        model=model,
        architecture=architecture,
        cost=cost,
        files={"config.json": describe(config.model, config.plugins)},
        rows={**model_rows(config, architecture, cost, memory), **({"init": config.init} if config.init else {})},
    )


def _foreign(config: Config) -> Source | None:
    """Where the model of transformers is that ``config`` starts from; None if it is one of ours."""
    if config.init is None:
        return None
    from gatewright.pretrained.source import find_source

    source = find_source(config.init)
    return None if source.is_ours else source
