"""Learning from text: blocks of a tokenized corpus, and its validation split to be judged by."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.config import Config
from gatewright.data import IGNORED, BlockSampler, TokenizedCorpus, evaluation_batches, prepare, text_units
from gatewright.errors import RunError, UserError
from gatewright.evaluate.language_modeling import evaluate
from gatewright.training.optimizer import Optimizers
from gatewright.training.parallel import SingleProcess
from gatewright.training.precision import Precision
from gatewright.training.update import Gradients, Updater, count_targets, derive_seed, to_device
from gatewright.training.work import Outcome, Work


class TextWork(Work):
    """The corpus of ``config.data``. Every evaluation scores the same ``train.eval_tokens`` validation tokens."""

    def __init__(self, config: Config, *, progress: bool = False) -> None:
        self.corpus = prepare(config.data, progress=progress)
        settle_vocabulary(config, self.corpus)
        self.tokenizer = self.corpus.tokenizer
        length, rows = config.model.block_size, config.train.batch_size
        self.sampler = BlockSampler(self.corpus.train, length, rows * config.train.grad_accumulation, config.train.seed)
        self.validation = evaluation_batches(self.corpus.validation, length, rows, config.train.eval_tokens)
        self.units = text_units(self.corpus, self.validation)
        self.scored = asdict(self.units)

    def describe(self) -> dict[str, Any]:
        """The corpus."""
        return self.corpus.describe()

    def rows(self, config: Config) -> dict[str, str]:
        """Corpus, tokenizer and budget."""
        train, data = config.train, self.corpus
        per_step = train.batch_size * train.grad_accumulation * config.model.block_size
        tokens = per_step * train.max_steps
        return {
            "data": f"{config.data.source}, {len(data.train):,} training and {len(data.validation):,} validation "
            f"tokens, tokenizer {data.tokenizer.name} ({data.tokenizer.vocab_size:,})",
            "plan": f"{train.max_steps:,} steps of {per_step:,} tokens = {tokens:,} tokens "
            f"({tokens / len(data.train):.2f} epochs), {train.optimizer}, {train.schedule} from "
            f"{train.learning_rate:g}, seed {train.seed}",
        }

    def updater(
        self,
        model: nn.Module,
        forward: nn.Module,
        companion: nn.Module | None,
        optimizers: Optimizers,
        precision: Precision,
        parallel: SingleProcess,
        config: Config,
    ) -> TextUpdater:
        """An updater on the corpus."""
        return TextUpdater(self, model, forward, optimizers, precision, parallel, config)


class TextUpdater(Updater):
    """Next-token prediction.

    The gradient of a step is that of (Σ token losses) / (number of targets in the step), however the step's rows are
    split into micro-batches and however the targets are spread over them; auxiliary losses are averaged over the
    micro-batches. Dropout draws from generators seeded by (seed, step, rank), so a step is a pure function of the
    weights, the optimizer's memory and its number.
    """

    def __init__(
        self,
        work: TextWork,
        model: nn.Module,
        forward: nn.Module,
        optimizers: Optimizers,
        precision: Precision,
        parallel: SingleProcess,
        config: Config,
    ) -> None:
        super().__init__(model, forward, optimizers, precision, parallel, config.train)
        self.work = work
        self.tokens_per_step = work.sampler.batch_size * config.model.block_size

    def backward(self, step: int, forward: nn.Module) -> Gradients:
        """The step's rows, in micro-batches of ``train.batch_size``."""
        device, sampler = self.precision.device, self.work.sampler
        input_ids, labels = sampler.rows(step, *self.parallel.rows(sampler.batch_size))  # (B, T) each
        targets = self.parallel.sum(count_targets(labels))
        if targets == 0:
            raise RunError(f"the batch of step {step + 1} has no targets: every label is {IGNORED}")
        torch.manual_seed(derive_seed(self.config.seed, step, self.parallel.rank))
        loss, aux_loss = torch.zeros((), device=device), None
        rows = self.config.batch_size
        for micro_ids, micro_labels in zip(input_ids.split(rows), labels.split(rows), strict=True):
            with self.precision.autocast():
                output = forward(to_device(micro_ids, device), targets=to_device(micro_labels, device), reduction="sum")
            share: Tensor = output.cross_entropy / targets
            loss += share.detach()
            if output.aux_loss is not None:
                aux = output.aux_loss / self.config.grad_accumulation
                aux_loss = aux.detach() if aux_loss is None else aux_loss + aux.detach()
                share = share + aux
            self.precision.scaler.scale(share).backward()
        return Gradients(loss, self.tokens_per_step, aux_loss)

    def evaluate(self) -> Outcome:
        """Loss, perplexities and accuracy on the fixed validation batches."""
        found = evaluate(self.forward, self.work.validation, units=self.work.units, autocast=self.precision.autocast)
        return Outcome(found.numbers(), sequences=found.sequences)


def settle_vocabulary(config: Config, data: TokenizedCorpus) -> None:
    """Let the tokenizer set ``model.vocab_size``, or check that the model's own is large enough for it."""
    size = data.tokenizer.vocab_size
    if config.data.vocabulary == "tokenizer":
        config.model.vocab_size = size
    elif config.model.vocab_size < size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size} is less than the {size} tokens of data.tokenizer="
            f"{config.data.tokenizer}; raise it, or let data.vocabulary=tokenizer set it"
        )
