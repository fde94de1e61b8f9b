"""Which questions a step asks, and which ones an evaluation: functions of seed and step."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.rl.format import Format
from gatewright.rl.tasks import Question, Task, check_disjoint, contamination


class Questions:
    """The questions of a run: some to learn from, some to be judged by, none of which is among both.

    They do not depend on the run's seed, their order in training does. Raises `UserError` if a held-out question is
    among those to learn from.
    """

    def __init__(self, task: Task, *, train: int, held_out: int) -> None:
        self.train = task.at_most("train", train)
        self.held_out = task.at_most("validation", held_out)
        check_disjoint(self.train, self.held_out)
        self.contamination = contamination(self.train, self.held_out)

    def describe(self, form: Format) -> dict[str, Any]:
        """What they are, for ``environment.json``."""
        digest = hashlib.sha256()
        for question in (*self.train, *self.held_out):
            digest.update(f"{question.prompt}\0{question.answer}\0".encode())
        return {
            "source": {"name": form.task.name},
            "train": {"questions": len(self.train)},
            "validation": {"questions": len(self.held_out)},
            "contamination": self.contamination.share,
            "content_sha256": digest.hexdigest(),
            "tokenizer": {"name": form.tokenizer.name, "sha256": form.tokenizer.fingerprint()},
        }


class QuestionSampler:
    """``batch_size`` questions a step, in an order of their own in each pass over them."""

    def __init__(self, questions: list[Question], batch_size: int, seed: int) -> None:
        self.questions, self.batch_size, self.seed = questions, batch_size, seed

    def rows(self, step: int, start: int, stop: int) -> list[tuple[int, Question]]:
        """Rows ``start`` to ``stop`` of a step's batch, each with a number that no other place in training has."""
        places = range(step * self.batch_size + start, step * self.batch_size + stop)
        count = len(self.questions)
        return [(place, self.questions[_order(self.seed, place // count, count)[place % count]]) for place in places]


@lru_cache(maxsize=8)
def _order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)
