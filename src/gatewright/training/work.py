"""What a run learns from, as the trainer sees it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from gatewright.config import Config
from gatewright.data import Tokenizer
from gatewright.model.cost import ModelCost
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import Parallel
from gatewright.training.precision import Precision

if TYPE_CHECKING:
    from gatewright.training.update import Updater


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found."""

    numbers: Mapping[str, float | None]
    """By name, ``val_…``; they go into metrics.jsonl and, those of the last evaluation, into summary.json."""
    judged_by: str = "val_loss"
    """The number that says which checkpoint is the best."""
    better: Literal["lower", "higher"] = "lower"
    sequences: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    """Sum of losses and number of tokens of each sequence scored, where there are such."""

    @property
    def score(self) -> float:
        """The number that judges, turned so that lower is better; NaN where there is none."""
        value = self.numbers[self.judged_by]
        return float("nan") if value is None else value if self.better == "lower" else -value


@dataclass(frozen=True)
class Equipment:
    """What an updater works with."""

    model: Any
    """A `gatewright.training.subject.Trainable` module."""
    forward: Any
    """``model``, or its compiled or wrapped form: the module whose forward pass is called."""
    companion: nn.Module | None
    """What `Work.companion` gave."""
    optimizers: Optimizers
    precision: Precision
    parallel: Parallel
    config: Config


class Work(ABC):
    """Text, a task's demonstrations, or a task to be rewarded on: prepared and checked before anything is written."""

    tokenizer: Tokenizer
    scored: Mapping[str, int | None]
    """How much an evaluation scores, for ``environment.json``."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What it is, for ``environment.json``: also ``content_sha256`` and ``tokenizer``, which resuming compares."""

    @abstractmethod
    def rows(self, config: Config) -> dict[str, str]:
        """What the start-up block says about it and about the plan, label → text."""

    def companion(self, model: nn.Module) -> nn.Module | None:
        """A module trained beside the model and saved with it, such as a gate between paths; most work has none."""
        return None

    def flops_per_token(self, cost: ModelCost) -> int:
        """FLOPs of learning from one token."""
        return cost.flops_per_token

    @abstractmethod
    def updater(self, equipment: Equipment) -> Updater:
        """Who does the steps."""


def create_work(config: Config, *, progress: bool = False) -> Work:
    """Prepare what ``config`` says to learn from. May set ``config.model.vocab_size`` to the tokenizer's.

    Raises `UserError` for whatever cannot be learned from.
    """
    if config.rl is not None:
        from gatewright.rl.learning.work import RewardedWork

        return RewardedWork(config)
    if config.task is not None:
        from gatewright.rl.supervised.work import DemonstrationWork

        return DemonstrationWork(config)
    from gatewright.training.text import TextWork

    return TextWork(config, progress=progress)
