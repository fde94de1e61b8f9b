"""Whether a test measures what was trained on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gatewright.errors import UserError
from gatewright.rl.tasks.question import Question, normalised


def check_disjoint(train: Sequence[Question], test: Sequence[Question]) -> None:
    """Raise `UserError` naming a question of ``test`` that is also in ``train``, up to case and white space."""
    known = {normalised(question.text): question for question in train}
    for question in test:
        twin = known.get(normalised(question.text))
        if twin is not None:
            shown = question.text if len(question.text) <= 80 else f"{question.text[:77]}..."
            raise UserError(f"test question '{question.id}' is training question '{twin.id}' too: {shown!r}")


@dataclass(frozen=True)
class Contamination:
    """How much of a test occurs in the training questions, in sequences of ``words`` words."""

    words: int
    threshold: float
    questions: int
    overlaps: dict[str, float]
    """By id, the share of a question's sequences that training questions have, where it is at least ``threshold``."""

    @property
    def share(self) -> float:
        """The share of test questions in ``overlaps``."""
        return len(self.overlaps) / self.questions


def contamination(
    train: Sequence[Question], test: Sequence[Question], words: int = 8, threshold: float = 0.5
) -> Contamination:
    """Look for the n-grams of each test question, n = ``words``, in all training questions.

    A question shorter than that counts as one sequence. Numbers and signs are words. Raises `UserError` for no test
    questions, ``words`` below 1 and a ``threshold`` outside (0, 1].
    """
    if not test:
        raise UserError("test=[]: nothing to look for")
    if words < 1 or not 0 < threshold <= 1:
        raise UserError(f"words={words}, threshold={threshold}: must be at least 1, and above 0 and at most 1")
    known = {gram for question in train for gram in _grams(question.text, words)}
    overlaps = {}
    for question in test:
        grams = list(_grams(question.text, words))
        overlap = sum(gram in known for gram in grams) / len(grams)
        if overlap >= threshold:
            overlaps[question.id] = overlap
    return Contamination(words, threshold, len(test), overlaps)


def _grams(text: str, words: int) -> Iterator[tuple[str, ...]]:
    tokens = re.findall(r"\w+|[^\w\s]", normalised(text))
    for start in range(max(1, len(tokens) - words + 1)):
        yield tuple(tokens[start : start + words])
