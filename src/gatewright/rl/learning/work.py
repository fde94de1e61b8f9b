"""Learning a task from its rewards."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatewright.config import Config
from gatewright.errors import UserError
from gatewright.model.cost import ModelCost
from gatewright.paths.make import make_similarity
from gatewright.paths.policies import policy_of
from gatewright.paths.similarities.base import Similarity
from gatewright.paths.similarities.none import NoSimilarity
from gatewright.pretrained.source import find_source
from gatewright.rl.format import Format
from gatewright.rl.learning.evaluation import evaluate, write_listening
from gatewright.rl.learning.gate import PathGate
from gatewright.rl.learning.memory import rollout_memory
from gatewright.rl.learning.update import RewardedUpdater
from gatewright.rl.questions import Questions, QuestionSampler
from gatewright.rl.start import task_of, tokenizer_of
from gatewright.training.banner import plan_row
from gatewright.training.console import si
from gatewright.training.precision import Precision
from gatewright.training.work import Equipment, Outcome, Work

PROBE = "cosine"
"""Whose statistics are recorded where paths do not listen, so that arms can be compared; nobody hears it."""


class RewardedWork(Work):
    """The questions of ``config.task``, to be answered along paths and rewarded (`RLConfig`).

    Raises `UserError` for a task, a similarity or a limit that cannot be, for held-out questions that are among those
    to learn from, and for what reinforcement learning has no use for.
    """

    def __init__(self, config: Config) -> None:
        assert config.rl is not None
        self.config, self.options = config, config.rl
        if config.init is None:
            raise UserError(
                "rl needs init=, a model to go on from: a run of `gatewright rl prepare`, or one of transformers"
            )
        if self.options.lora is not None and find_source(config.init).is_ours:
            raise UserError(f"rl.lora is for models of transformers; init={config.init} is one of ours")
        if config.train.compile in (True, "blocks"):
            said = str(config.train.compile).lower()
            raise UserError(f"train.compile={said}: rl generates token by token, which is not compiled; leave it out")
        if config.parallel.mode != "none":
            raise UserError(f"parallel.mode={config.parallel.mode}: rl runs in one process")
        task = task_of(config)
        self.tokenizer = tokenizer_of(config, task)
        self.form = Format(task, self.tokenizer, chat=self.options.chat, max_new_tokens=self.options.max_new_tokens)
        PathGate(self.options, width=8, vocab_size=8)  # whether it can be, before there is a model
        self.questions = Questions(task, train=self.options.train_questions, held_out=self.options.eval_questions)
        train = config.train
        self.sampler = QuestionSampler(self.questions.train, train.batch_size * train.grad_accumulation, train.seed)
        self.scored = {"questions": len(self.questions.held_out), "tokens": None}
        self._gate: PathGate | None = None

    def describe(self) -> dict[str, Any]:
        """The task, its questions and the tokenizer."""
        return self.questions.describe(self.form)

    def rows(self, config: Config) -> dict[str, str]:
        """Task, gate and budget."""
        train, options, task = config.train, self.options, self.form.task
        weight = "adaptive λ" if isinstance(options.blend_weight, dict) else f"λ = {options.blend_weight:g}"
        listening = f"{options.similarity}, {weight}, blending {options.blend}"
        if self._gate is not None and self._gate.silent:
            listening = "none: plain GRPO"
        return {
            "task": f"{task.name}, {len(self.questions.train):,} questions, {len(self.questions.held_out):,} held out, "
            f"up to {self.form.max_new_tokens:,} new tokens, tokenizer {self.tokenizer.name} "
            f"({self.tokenizer.vocab_size:,})",
            "listening": listening,
            "memory of paths": self._memory(config),
            **plan_row(train, f"{self.sampler.batch_size} questions x {options.paths} paths"),
        }

    def _memory(self, config: Config) -> str:
        """An estimate of what comes on top of the model's own training."""
        longest = max(len(self.form.prompt(question)) for question in self.questions.train[:1000])
        uses = rollout_memory(
            config,
            self.options,
            prompt=longest,
            new=self.form.max_new_tokens,
            step_questions=self.sampler.batch_size,
        )
        listed = ", ".join(f"{use} {si(size, 'B')}" for use, size in uses.items())
        return f"{si(sum(uses.values()), 'B')}, estimated ({listed})"

    def companion(self, model: nn.Module) -> PathGate | None:
        """The gate, unless nobody listens."""
        policy = policy_of(model)
        self._gate = PathGate(
            self.options,
            width=policy.width,
            vocab_size=policy.vocab_size,
            seed=self.config.train.seed,
            device=policy.device,
        )
        return None if self._gate.silent else self._gate

    def probe(self, model: nn.Module) -> Similarity:
        """The similarity whose statistics are recorded where nobody listens."""
        assert self._gate is not None
        if not isinstance(self._gate.similarity, NoSimilarity):
            return self._gate.similarity
        return make_similarity(PROBE, temperature=self.options.temperature, device=policy_of(model).device)

    def flops_per_token(self, cost: ModelCost) -> int:
        """Generation, the learning pass, and the reference where there is one."""
        passes = 2 if self.options.kl_weight > 0 else 1
        return cost.flops_per_token + passes * cost.forward_flops_per_token

    def updater(self, equipment: Equipment) -> RewardedUpdater:
        """An updater on the questions."""
        assert self._gate is not None
        reference = None
        if self._needs_reference:
            reference = self._reference(equipment.config, equipment.precision.device)
        return RewardedUpdater(self, self._gate, reference, equipment)

    def evaluate(self, model: nn.Module, gate: PathGate, precision: Precision, step: int) -> Outcome:
        """Accuracy on the held-out questions; the paths of the first of them go into the run directory."""
        questions = self.questions.held_out
        outcome = evaluate(model, gate, self.form, questions, self.options, precision)
        if self.config.out is not None:
            write_listening(Path(self.config.out), step, model, gate, self.form, questions[0], self.options, precision)
        return outcome

    @property
    def _needs_reference(self) -> bool:
        return self.options.kl_weight > 0 and self.options.lora is None

    def _reference(self, config: Config, device: torch.device) -> nn.Module:
        """The model at the start, opened again: by now the other one may have been restored from a checkpoint."""
        from gatewright.training.subject import open_subject

        model: nn.Module = open_subject(copy.deepcopy(config), device).model
        return model.requires_grad_(False).eval()
