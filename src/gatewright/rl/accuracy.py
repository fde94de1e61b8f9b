"""How often a model is right: greedily, by a sampled path, and with paths that listen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gatewright.rl.asking import Draws, Listening, ask
from gatewright.rl.format import Format
from gatewright.rl.tasks import Question

ROWS = 512
"""Paths generated at a time."""


@dataclass(frozen=True)
class Answers:
    """What a model answered to Q questions along K paths each."""

    completions: list[list[str]]
    rewards: Tensor
    """``(Q, K)``."""
    lengths: Tensor
    """``(Q, K)``: tokens written."""
    counts: dict[str, int]

    @property
    def right(self) -> Tensor:
        """``(Q, K)``, boolean: a part of the reward is not an answer."""
        return self.rewards >= 1

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return self.right.double().mean().item()


def answer(
    model: nn.Module,
    form: Format,
    questions: Sequence[Question],
    *,
    paths: int = 1,
    draws: Draws | None = None,
    listening: Listening | None = None,
    rows: int = ROWS,
    autocast: Callable[[], AbstractContextManager[None]] | None = None,
) -> Answers:
    """Ask all questions, ``rows`` paths at a time; greedily if ``draws`` are left out."""
    asked = []
    at_a_time = max(1, rows // paths)
    for start in range(0, len(questions), at_a_time):
        some = questions[start : start + at_a_time]
        asked.append(
            ask(
                model,
                form,
                some,
                paths=paths,
                draws=draws or Draws(),
                listening=listening,
                question_ids=range(start, start + len(some)),
                autocast=autocast() if autocast else None,
            )
        )
    return Answers(
        completions=[row for one in asked for row in one.completions],
        rewards=torch.cat([one.rewards for one in asked]),
        lengths=torch.cat([one.rollout.lengths.cpu() for one in asked]),
        counts={name: sum(one.counts[name] for one in asked) for name in asked[0].counts},
    )
