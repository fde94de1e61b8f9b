"""A question with an answer that can be checked."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gatewright.errors import UserError


@dataclass(frozen=True)
class Question:
    """One question: what the model reads, and what a reward needs to judge what it writes."""

    id: str
    prompt: str
    answer: str
    columns: Mapping[str, Any] = field(default_factory=dict)
    """More for rewards and demonstrators; ``question`` is the plain question where ``prompt`` puts it into words."""

    @property
    def text(self) -> str:
        """The question alone, as questions are told apart."""
        return str(self.columns.get("question", self.prompt))


def columns_of(questions: Sequence[Question]) -> dict[str, list[Any]]:
    """The columns that a reward is called with: ``id``, ``answer`` and those of the questions, one value a question.

    Raises `UserError` for questions whose columns differ.
    """
    if not questions:
        return {}
    names = set(questions[0].columns)
    for question in questions:
        if set(question.columns) != names:
            raise UserError(f"question '{question.id}' has other columns than '{questions[0].id}'")
    rows = [{**question.columns, "id": question.id, "answer": question.answer} for question in questions]
    return {name: [row[name] for row in rows] for name in rows[0]}


def normalised(text: str) -> str:
    """``text`` without what does not make it another question: case, white space, forms of one character."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def share_of(key: str) -> float:
    """A number in [0, 1) that belongs to ``key`` for good, evenly spread over keys."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest()) / 2**64
