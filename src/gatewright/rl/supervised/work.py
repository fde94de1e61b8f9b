"""Learning a task's demonstrations, and being judged by how often the answers are right."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from gatewright.config import Config
from gatewright.data import IGNORED
from gatewright.rl.accuracy import answer
from gatewright.rl.asking import Draws
from gatewright.rl.format import Format
from gatewright.rl.questions import Questions
from gatewright.rl.start import task_of, tokenizer_of
from gatewright.rl.supervised.demonstrations import DemonstrationSampler, held_out_rows
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import Parallel
from gatewright.training.precision import Precision
from gatewright.training.text import TokenUpdater
from gatewright.training.update import to_device
from gatewright.training.work import Outcome, Work

TRAIN = 32_768
"""Questions to learn from; each is demonstrated anew whenever it comes."""
HELD_OUT = 500
"""Held-out questions of an evaluation."""


class DemonstrationWork(Work):
    """The demonstrations of ``config.task``, with the faults they are written with.

    Sets ``config.model.vocab_size`` for a fresh model. Raises `UserError` for a task that nobody demonstrates, for a
    tokenizer that cannot write it, and for a model without room for it.
    """

    def __init__(self, config: Config) -> None:
        task = task_of(config)
        self.tokenizer = tokenizer_of(config, task)
        self.form = Format(task, self.tokenizer)
        if config.init is None:
            config.model.vocab_size = self.tokenizer.vocab_size
        room = config.model.block_size
        self.questions = Questions(task, train=TRAIN, held_out=HELD_OUT)
        train = config.train
        self.sampler = DemonstrationSampler(
            self.form, self.questions.train, train.batch_size * train.grad_accumulation, train.seed, room
        )
        self.held_out = held_out_rows(self.form, self.questions.held_out, train.batch_size, room)
        self.sampler.rows(0, 0, 1)
        self.targets = sum(int((labels != IGNORED).sum()) for _, labels in self.held_out)
        self.scored = {"questions": len(self.questions.held_out), "tokens": self.targets}

    def describe(self) -> dict[str, Any]:
        """The task, its questions and the tokenizer."""
        return self.questions.describe(self.form)

    def rows(self, config: Config) -> dict[str, str]:
        """Task and budget."""
        train, task = config.train, self.form.task
        rows = self.sampler.batch_size * train.max_steps
        return {
            "task": f"{task.name}, demonstrations of {len(self.questions.train):,} questions, "
            f"{len(self.questions.held_out):,} held out, tokenizer {self.tokenizer.name} ({self.tokenizer.vocab_size})",
            "plan": f"{train.max_steps:,} steps of {self.sampler.batch_size} demonstrations = {rows:,}, "
            f"{train.optimizer}, {train.schedule} from {train.learning_rate:g}, seed {train.seed}",
        }

    def updater(
        self,
        model: nn.Module,
        forward: nn.Module,
        companion: nn.Module | None,
        optimizers: Optimizers,
        precision: Precision,
        parallel: Parallel,
        config: Config,
    ) -> DemonstrationUpdater:
        """An updater on the demonstrations."""
        return DemonstrationUpdater(self, model, forward, optimizers, precision, parallel, config)


class DemonstrationUpdater(TokenUpdater):
    """Next-token prediction on completions; prompts are read and not learned."""

    def __init__(
        self,
        work: DemonstrationWork,
        model: nn.Module,
        forward: nn.Module,
        optimizers: Optimizers,
        precision: Precision,
        parallel: Parallel,
        config: Config,
    ) -> None:
        super().__init__(model, forward, optimizers, precision, parallel, config.train)
        self.work, self.sampler = work, work.sampler

    def evaluate(self) -> Outcome:
        """The loss on held-out demonstrations, and how often a greedy and a sampled answer are right."""
        work = self.work
        loss, accuracy = self._on_demonstrations()
        greedy, sampled = (
            answer(self.model, work.form, work.questions.held_out, draws=draws, autocast=self.precision.autocast)
            for draws in (Draws(), Draws(temperature=1.0))
        )
        return Outcome(
            {
                "val_loss": loss,
                "val_token_accuracy": accuracy,
                "val_accuracy": greedy.accuracy,
                "val_accuracy_sampled": sampled.accuracy,
            }
        )

    @torch.no_grad()
    def _on_demonstrations(self) -> tuple[float, float]:
        """Mean loss and share of right next tokens, over the completions of the held-out demonstrations."""
        loss = right = torch.zeros((), dtype=torch.float64)
        was_training = self.model.training
        self.model.eval()
        try:
            for input_ids, labels in self.work.held_out:
                with self.precision.autocast():
                    logits = self.forward(to_device(input_ids, self.precision.device)).logits
                scores = logits.float().cpu()
                losses = F.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
                loss = loss + losses.sum(dtype=torch.float64)
                right = right + (scores.argmax(-1) == labels).sum()
        finally:
            self.model.train(was_training)
        return loss.item() / self.work.targets, right.item() / self.work.targets
