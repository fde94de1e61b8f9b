"""Asking a model questions: paths generated, read and rewarded."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gatewright.paths.adaptive import AdaptiveWeight
from gatewright.paths.decoding import generate
from gatewright.paths.diagnostics import Diagnostics
from gatewright.paths.rollout import Blend, Rollout
from gatewright.paths.similarities.base import Similarity
from gatewright.rl.format import Format
from gatewright.rl.rewards import counting
from gatewright.rl.tasks import Question, columns_of


@dataclass(frozen=True)
class Listening:
    """How paths hear one another; as it stands, not at all."""

    similarity: str | Similarity = "none"
    blend_weight: float | AdaptiveWeight = 0.0
    blends: Blend = "embeddings"
    keep_signals: bool = False


@dataclass(frozen=True)
class Draws:
    """How tokens are drawn; as it stands, greedily."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Asked:
    """What came of asking B questions along N paths each."""

    rollout: Rollout
    completions: list[list[str]]
    rewards: Tensor
    """``(B, N)`` in float32, on the CPU."""
    counts: dict[str, int] = field(default_factory=dict)
    """Completions ``scored``, and those that counted 0 because the scorer ``raised`` or ``timed_out``."""


def ask(
    model: nn.Module,
    form: Format,
    questions: Sequence[Question],
    *,
    paths: int,
    draws: Draws,
    listening: Listening | None = None,
    question_ids: Sequence[int] | None = None,
    diagnostics: Diagnostics | None = None,
    probe: Similarity | None = None,
    autocast: AbstractContextManager[None] | None = None,
    rewarded: bool = True,
) -> Asked:
    """Let ``model`` answer each question along ``paths`` paths; arguments as those of `gatewright.paths.generate`.

    Not ``rewarded`` are questions whose answer nobody knows: their rewards are 0.
    """
    listening = listening or Listening()
    with autocast or nullcontext():
        rollout = generate(
            model,
            form.tokenizer,
            [form.prompt(question) for question in questions],
            paths=paths,
            similarity=listening.similarity,
            blend_weight=listening.blend_weight,
            blends=listening.blends,
            temperature=draws.temperature,
            top_p=draws.top_p,
            max_new_tokens=form.max_new_tokens,
            delimiter=form.task.delimiter,
            end_ids=form.end_ids,
            seed=draws.seed,
            question_ids=question_ids,
            keep_signals=listening.keep_signals,
            diagnostics=diagnostics,
            probe=probe,
        )
    completions = form.texts(rollout)
    if not rewarded:
        return Asked(rollout, completions, torch.zeros(len(questions), paths))
    rewards, counts = reward(form, questions, completions)
    return Asked(rollout, completions, rewards, counts)


def reward(
    form: Format, questions: Sequence[Question], completions: Sequence[Sequence[str]]
) -> tuple[Tensor, dict[str, int]]:
    """What the completions of each question are worth, ``(B, N)``, and what the scorer counted."""
    paths = len(completions[0])
    each = [question for question in questions for _ in range(paths)]
    with counting(form.task.reward) as counts:
        scores = form.task.reward(
            prompts=[question.prompt for question in each],
            completions=[text for row in completions for text in row],
            **columns_of(each),
        )
    return torch.tensor(scores, dtype=torch.float32).view(len(questions), paths), counts()
