"""What a contender is asked for, and what it answers: one line of JSON each way. Needs nothing but torch."""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

LEARNING_RATE, WEIGHT_DECAY, BETAS, CLIP = 1e-5, 0.1, (0.9, 0.95), 1.0
"""The rate is low, so that first losses stay comparable."""
LONG = 100_000
"""Steps of a run that nobody waits for."""


@dataclass(frozen=True)
class Shape:
    """A model of GPT-2's form, its batch, and how many steps to take before and under the clock."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    batch_size: int
    warmup: int
    steps: int

    @property
    def model_options(self) -> list[str]:
        """What makes ``model=gpt2`` this model."""
        keys = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
        return [f"model.{key}={getattr(self, key)}" for key in keys]

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.batch_size * self.block_size


@dataclass(frozen=True)
class Job(Shape):
    """A shape, and the mode it is trained in."""

    precision: str
    compiled: bool
    text: str
    """A file of random letters, fewer than the vocabulary has tokens."""
    checkout: str = ""
    """Where a contender's source lies that is no package."""


@dataclass(frozen=True)
class Answer:
    """What a contender reached."""

    tokens_per_second: float
    first_loss: float
    peak_memory_bytes: int


def train_options(shape: Shape, text: str | Path, out: Path) -> list[str]:
    """What makes `gatewright train` train this shape on this text."""
    return [
        "model=gpt2", *shape.model_options, "data.source=files", f"data.path={text}", "data.tokenizer=char",
        "data.vocabulary=model", f"train.batch_size={shape.batch_size}", f"train.max_steps={LONG}",
        "train.schedule=constant", f"train.learning_rate={LEARNING_RATE}", f"train.weight_decay={WEIGHT_DECAY}",
        "train.warmup_steps=0", f"train.log_every={min(10, shape.warmup)}", f"train.eval_every={LONG}",
        f"train.save_every={LONG}", f"out={out}",
    ]  # fmt: skip


def asked() -> Job:
    """The job on the command line."""
    return Job(**json.loads(sys.argv[1]))


def answer(tokens_per_second: float, first_loss: float, whose: int = resource.RUSAGE_SELF) -> None:
    """Print the answer, with the peak memory of this process or of its children."""
    peak = resource.getrusage(whose).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps(asdict(Answer(tokens_per_second, first_loss, peak))))


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of ``(B, T, V)`` logits, in float32."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def contend(job: Job, model: nn.Module, loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
    """Train a peer as its own users would: autocast, fused AdamW, clipping, batches drawn at random.

    ``loss_of(model, ids, targets)`` is the mean cross-entropy of ``(B, T)`` ids and the ids after them.
    """
    text = Path(job.text).read_text()
    number = {letter: token for token, letter in enumerate(sorted(set(text)))}
    data = torch.tensor([number[letter] for letter in text])
    model.train()
    forward = torch.compile(model) if job.compiled else model
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, weight_decay=WEIGHT_DECAY, fused=True
    )
    first, began = 0.0, 0.0
    for step in range(job.warmup + job.steps):
        if step == job.warmup:
            began = time.perf_counter()
        starts = torch.randint(len(data) - job.block_size, (job.batch_size,)).tolist()
        rows = torch.stack([data[start : start + job.block_size + 1] for start in starts])
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            loss = loss_of(forward, rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step == 0:
            first = loss.item()
    answer(job.steps * job.tokens / (time.perf_counter() - began), first)
