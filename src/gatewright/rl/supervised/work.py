"""Learning a task's demonstrations, and being judged by how often the answers are right."""

from __future__ import annotations

from typing import Any

from gatewright.config import Config
from gatewright.data import IGNORED
from gatewright.errors import UserError
from gatewright.evaluate.language_modeling import evaluate
from gatewright.rl.accuracy import answer
from gatewright.rl.asking import Draws
from gatewright.rl.format import Format
from gatewright.rl.questions import Questions
from gatewright.rl.start import task_of, tokenizer_of
from gatewright.rl.supervised.demonstrations import DemonstrationSampler, held_out_rows
from gatewright.training.banner import plan_row
from gatewright.training.text import TokenUpdater
from gatewright.training.work import Equipment, Outcome, Work

TRAIN = 32_768
"""Questions to learn from; each is demonstrated anew whenever it comes."""
HELD_OUT = 500
"""Held-out questions of an evaluation."""


class DemonstrationWork(Work):
    """The demonstrations of ``config.task``, with the faults they are written with.

    Sets ``config.model.vocab_size`` for a fresh model. Raises `UserError` for a task that nobody demonstrates, for a
    tokenizer that cannot write it, for a model without room for it, and for shared-out weights.
    """

    def __init__(self, config: Config) -> None:
        if config.parallel.mode == "fsdp2":
            raise UserError(
                "parallel.mode=fsdp2: evaluations of a task generate answers, for which every process needs the whole "
                "model; choose ddp or zero1"
            )
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
            **plan_row(train, f"{self.sampler.batch_size} demonstrations = {rows:,}"),
        }

    def updater(self, equipment: Equipment) -> DemonstrationUpdater:
        """An updater on the demonstrations."""
        return DemonstrationUpdater(self, equipment)


class DemonstrationUpdater(TokenUpdater):
    """Next-token prediction on completions; prompts are read and not learned."""

    def __init__(self, work: DemonstrationWork, equipment: Equipment) -> None:
        super().__init__(equipment)
        self.work, self.sampler = work, work.sampler

    def evaluate(self) -> Outcome:
        """The loss on held-out demonstrations, and how often a greedy and a sampled answer are right."""
        work = self.work
        found = evaluate(self.forward, work.held_out, autocast=self.precision.autocast)
        greedy, sampled = (
            answer(self.model, work.form, work.questions.held_out, draws=draws, autocast=self.precision.autocast)
            for draws in (Draws(), Draws(temperature=1.0))
        )
        return Outcome(
            {
                "val_loss": found.val_loss,
                "val_token_accuracy": found.val_token_accuracy,
                "val_accuracy": greedy.accuracy,
                "val_accuracy_sampled": sampled.accuracy,
            }
        )
