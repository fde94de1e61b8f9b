"""What a contender is asked for, and how it takes its turns. Needs nothing but torch."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional

LEARNING_RATE, WEIGHT_DECAY, BETAS, CLIP = 1e-5, 0.1, (0.9, 0.95), 1.0
"""The rate is low, so that first losses stay comparable."""
LONG = 100_000
"""Steps of a run that nobody waits for."""


@dataclass(frozen=True)
class Shape:
    """A model of GPT-2's form, its batch, and how many steps to take to warm up and in a turn."""

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
    """A file of random letters, fewer than the vocabulary has tokens, in a folder that may be written to."""
    checkout: str = ""
    """Where a contender's source lies that is no package."""


@dataclass(frozen=True)
class Answer:
    """What a contender says after each turn."""

    seconds: float
    first_loss: float
    """Of the first step of all."""
    peak_memory_bytes: int


class Turns:
    """Takes as many steps as a line on standard input says, answers with a line, and waits for the next."""

    def __init__(self) -> None:
        self.first_loss = math.nan
        self._left = 0
        self._began = time.perf_counter()

    def wait(self) -> None:
        """To be called before each step: returns when there is one to take."""
        if self._left == 0:
            answer = Answer(time.perf_counter() - self._began, self.first_loss, peak_memory_bytes())
            print(json.dumps(asdict(answer)), flush=True)
            self._left = int(sys.stdin.readline() or os._exit(0))
            self._began = time.perf_counter()
        self._left -= 1


def train_options(shape: Shape, text: str | Path, out: Path) -> list[str]:
    """What makes `gatewright train` train this shape on this text."""
    return [
        "model=gpt2", *shape.model_options, "data.source=files", f"data.path={text}", "data.tokenizer=char",
        "data.vocabulary=model", f"train.batch_size={shape.batch_size}", f"train.max_steps={LONG}",
        "train.schedule=constant", f"train.learning_rate={LEARNING_RATE}", f"train.weight_decay={WEIGHT_DECAY}",
        "train.warmup_steps=0", f"train.eval_every={LONG}", f"train.save_every={LONG}", f"out={out}",
    ]  # fmt: skip


def asked() -> Job:
    """The job on the command line."""
    return Job(**json.loads(sys.argv[1]))


def peak_memory_bytes() -> int:
    """The most this process has held. Linux hands ``ru_maxrss`` down from the process that starts another."""
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean cross-entropy of ``(B, T, V)`` logits, in float32."""
    return functional.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def contend(job: Job, model: nn.Module, loss_of: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> NoReturn:
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
    turns = Turns()
    while True:
        turns.wait()
        starts = torch.randint(len(data) - job.block_size, (job.batch_size,)).tolist()
        rows = torch.stack([data[start : start + job.block_size + 1] for start in starts])
        with torch.autocast("cpu", torch.bfloat16, enabled=job.precision == "bf16"):
            loss = loss_of(forward, rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if math.isnan(turns.first_loss):
            turns.first_loss = loss.item()
