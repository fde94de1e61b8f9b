"""Learning from text: blocks of a tokenized corpus, and its validation split to be judged by."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gatewright.config import Config
from gatewright.data import IGNORED, BlockSampler, Mixture, MixtureSampler, TokenizedCorpus, prepare
from gatewright.data.documents import apart
from gatewright.errors import RunError, UserError
from gatewright.evaluate.held_out import held_out
from gatewright.evaluate.language_modeling import score
from gatewright.training.banner import plan_row
from gatewright.training.update import Gradients, Updater, count_targets, derive_seed, seed_draws, to_device
from gatewright.training.work import Equipment, Outcome, Work


class TextWork(Work):
    """The corpus of ``config.data``. Every evaluation scores the same ``train.eval_tokens`` validation tokens."""

    def __init__(self, config: Config, *, progress: bool = False) -> None:
        self.corpus = prepare(config.data, progress=progress)
        settle_vocabulary(config, self.corpus)
        self.tokenizer = self.corpus.tokenizer
        length, rows, seed = config.model.block_size, config.train.batch_size, config.train.seed
        batch_size = rows * config.train.grad_accumulation
        self.sampler: BlockSampler | MixtureSampler
        if isinstance(self.corpus, Mixture):
            self.sampler = MixtureSampler(self.corpus, length, batch_size, seed)
        else:
            self.sampler = BlockSampler(self.corpus.train, length, batch_size, seed)
        self.validation = held_out(self.corpus, length, rows, config.train.eval_tokens)
        self.scored = asdict(self.validation.units)

    def describe(self) -> dict[str, Any]:
        """The corpus."""
        return self.corpus.describe()

    def rows(self, config: Config) -> dict[str, str]:
        """Corpus, tokenizer and budget."""
        train, tokenizer, facts = config.train, self.tokenizer, self.describe()
        per_step = train.batch_size * train.grad_accumulation * config.model.block_size
        tokens, there = per_step * train.max_steps, facts["train"]["tokens"]
        if isinstance(self.sampler, MixtureSampler):
            times = self.sampler.epochs(train.max_steps).items()
            epochs = ", ".join(f"{passes:.2f} epochs of {name}" for name, passes in times)
        else:
            epochs = f"{tokens / there:.2f} epochs"
        return {
            "data": f"{facts['source']['name']}, {there:,} training and {facts['validation']['tokens']:,} validation "
            f"tokens, tokenizer {tokenizer.name} ({tokenizer.vocab_size:,})",
            **plan_row(train, f"{per_step:,} tokens = {tokens:,} tokens ({epochs})"),
        }

    def updater(self, equipment: Equipment) -> TextUpdater:
        """An updater on the corpus."""
        return TextUpdater(self, equipment)


class Sampler(Protocol):
    """Rows to learn from."""

    batch_size: int
    """Rows of a step."""

    def rows(self, step: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows ``start`` to ``stop`` of a step: input ids and labels ``(B, T)``, aligned; a function of the step."""


class TokenUpdater(Updater):
    """Next-token prediction on whatever ``sampler`` gives.

    The gradient of a step is that of (Σ token losses) / (number of targets in the step), however the step's rows are
    split into micro-batches and however the targets are spread over them; auxiliary losses are averaged over the
    micro-batches. Dropout draws from generators seeded by (seed, step, rank), so a step is a pure function of the
    weights, the optimizer's memory and its number.
    """

    sampler: Sampler
    separator: int | None = None
    """The token with which documents begin, where each is to be seen alone."""

    def backward(self, step: int, forward: nn.Module) -> Gradients:
        """The step's rows, in micro-batches of ``train.batch_size``."""
        device, sampler = self.precision.device, self.sampler
        input_ids, labels = sampler.rows(step, *self.parallel.rows(sampler.batch_size))  # (B, T) each
        targets = self.parallel.sum(count_targets(labels))
        if targets == 0:
            raise RunError(f"the batch of step {step + 1} has no targets: every label is {IGNORED}")
        seed_draws(derive_seed(self.config.seed, step, self.parallel.rank), device)
        loss, aux_loss = torch.zeros((), device=device), None
        micro_batches = list(zip(input_ids.split(rows := self.config.batch_size), labels.split(rows), strict=True))
        for number, (micro_ids, micro_labels) in enumerate(micro_batches, start=1):
            with self.parallel.accumulating(forward, number == len(micro_batches)):
                with self.precision.autocast():
                    output = forward(
                        to_device(micro_ids, device),
                        targets=to_device(micro_labels, device),
                        reduction="sum",
                        keep_logits=False,
                        **apart(micro_ids, self.separator, device),
                    )
                share: Tensor = output.cross_entropy / targets
                loss += share.detach()
                if output.aux_loss is not None:
                    aux = output.aux_loss / (len(micro_batches) * self.parallel.world_size)
                    aux_loss = aux.detach() if aux_loss is None else aux_loss + aux.detach()
                    share = share + aux
                self.precision.scaler.scale(share * self.parallel.gradient_factor).backward()
        sums = self.parallel.reduce(torch.stack((loss, loss if aux_loss is None else aux_loss)))
        tokens = labels.numel() * self.parallel.world_size
        return Gradients(sums[0], tokens, None if aux_loss is None else sums[1])


class TextUpdater(TokenUpdater):
    """Next-token prediction on the corpus."""

    def __init__(self, work: TextWork, equipment: Equipment) -> None:
        super().__init__(equipment)
        self.work, self.sampler = work, work.sampler
        self.separator = work.tokenizer.eot_id if equipment.config.data.document_masking else None

    def evaluate(self) -> Outcome:
        """Loss, perplexities and accuracy on the fixed validation batches."""
        batches, processes = self.work.validation.batches, self.parallel.world_size
        turns = -(-len(batches) // processes)  # every process takes as many, for all have to meet in each pass
        mine = [batches[min(turn * processes + self.parallel.rank, len(batches) - 1)] for turn in range(turns)]
        tables = self.parallel.gather(score(self.forward, mine, self.precision.autocast, self.separator))
        found = self.work.validation.evaluation([tables[n % processes][n // processes] for n in range(len(batches))])
        return Outcome(found.numbers(), sequences=found.sequences)


def settle_vocabulary(config: Config, data: TokenizedCorpus | Mixture) -> None:
    """Let the tokenizer set ``model.vocab_size``, or check that the model's own is large enough for it."""
    size = data.tokenizer.vocab_size
    if config.data.vocabulary == "tokenizer":
        config.model.vocab_size = size
    elif config.model.vocab_size < size and config.init is not None:
        raise UserError(
            f"init={config.init} has {config.model.vocab_size} tokens, fewer than the {size} of data.tokenizer="
            f"{config.data.tokenizer}; leave data.tokenizer out to have the model's own"
        )
    elif config.model.vocab_size < size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size} is less than the {size} tokens of data.tokenizer="
            f"{config.data.tokenizer}; raise it, or let data.vocabulary=tokenizer set it"
        )
