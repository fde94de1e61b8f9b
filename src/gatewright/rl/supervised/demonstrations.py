"""Demonstrations as rows to learn from: the prompt is read, the completion is learned."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import torch
from torch import Tensor

from gatewright.data import IGNORED
from gatewright.errors import UserError
from gatewright.rl.format import Format
from gatewright.rl.questions import QuestionSampler
from gatewright.rl.tasks import Question


def demonstration_rows(
    form: Format, questions: Sequence[Question], randoms: Sequence[Random], room: int | None
) -> tuple[Tensor, Tensor]:
    """Input ids and labels ``(B, T)``, aligned: labels are the completion's tokens, −100 for prompt and padding.

    Raises `UserError` for a demonstration of more than ``room`` tokens.
    """
    rows = []
    for question, random in zip(questions, randoms, strict=True):
        prompt = form.prompt(question)
        completion = form.demonstration(form.task.demonstrate(question, random))
        if room is not None and len(prompt) + len(completion) > room + 1:
            raise UserError(
                f"task '{form.task.name}': a demonstration has {len(prompt) + len(completion)} tokens, the model has "
                f"{room} positions; raise model.block_size"
            )
        rows.append((prompt, completion))
    longest = max(len(prompt) + len(completion) for prompt, completion in rows) - 1
    input_ids = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED)
    for row, (prompt, completion) in enumerate(rows):
        ids = torch.tensor([*prompt, *completion])
        input_ids[row, : len(ids) - 1] = ids[:-1]
        labels[row, len(prompt) - 1 : len(ids) - 1] = ids[len(prompt) :]
    return input_ids, labels


class DemonstrationSampler:
    """Rows of a step: questions in the order of the seed, each demonstrated anew every time it comes."""

    def __init__(self, form: Format, questions: list[Question], batch_size: int, seed: int, room: int | None) -> None:
        self.form, self.room, self.batch_size, self.seed = form, room, batch_size, seed
        self._questions = QuestionSampler(questions, batch_size, seed)

    def rows(self, step: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows ``start`` to ``stop`` of a step; a function of (seed, step)."""
        drawn = self._questions.rows(step, start, stop)
        randoms = [Random(f"{self.seed}/{place}") for place, _ in drawn]
        return demonstration_rows(self.form, [question for _, question in drawn], randoms, self.room)


def held_out_rows(
    form: Format, questions: Sequence[Question], batch_size: int, room: int | None
) -> list[tuple[Tensor, Tensor]]:
    """The demonstrations that every evaluation scores, the same ones for every seed."""
    return [
        demonstration_rows(form, some, [Random(f"held out/{start + i}") for i in range(len(some))], room)
        for start in range(0, len(questions), batch_size)
        if (some := questions[start : start + batch_size])
    ]
