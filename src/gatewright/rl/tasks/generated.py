"""Tasks that make their questions up."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from random import Random
from typing import ClassVar

from gatewright.errors import UserError
from gatewright.rl.tasks.base import Split, Task, check_fault, check_request
from gatewright.rl.tasks.question import Question, normalised, share_of

HELD_OUT = {"validation": (0.8, 0.9), "test": (0.9, 1.0), "train": (0.0, 0.8)}
"""The part of all possible questions that belongs to a split."""

PATIENCE = 20_000
"""Draws in a row without a new question after which there are taken to be none."""


class GeneratedTask(Task):
    """Questions drawn at random, each of which belongs to one split for good.

    The split is decided by a hash of the question's `key`, so that train and test are disjoint by construction: for
    every seed, every count and every release.
    """

    @abstractmethod
    def stream(self, split: Split, seed: int) -> Iterator[Question]:
        """Questions of all splits, without end or nearly so; their ids are given later."""

    def key(self, question: Question) -> str:
        """What is the same for questions that are the same, such as 3·4 and 4·3."""
        return normalised(question.text)

    def questions(self, split: Split, count: int | None = None, seed: int = 0) -> list[Question]:
        check_request(self, split, count)
        if count is None:
            raise UserError(f"task '{self.name}' makes its questions up: say how many")
        found = self.at_most(split, count, seed)
        if len(found) < count:
            raise UserError(
                f"count={count}: task '{self.name}' has about {len(found)} different questions in '{split}'"
            )
        return found

    def at_most(self, split: Split, count: int, seed: int = 0) -> list[Question]:
        check_request(self, split, count)
        low, high = HELD_OUT[split]
        found: list[Question] = []
        seen: set[str] = set()
        misses = 0
        for question in self.stream(split, seed):
            key = self.key(question)
            if low <= share_of(key) < high and (split == "train" or key not in seen):
                seen.add(key)
                found.append(
                    Question(f"{split}-{seed}-{len(found)}", question.prompt, question.answer, question.columns)
                )
                misses = 0
            else:
                misses += 1
            if len(found) == count or misses > PATIENCE:
                break
        return found


class SmallTask(GeneratedTask):
    """A task with an alphabet of its own and prompts of one width, for models of a few million parameters or less."""

    delimiter = "#"
    end = "$"
    alphabet: ClassVar[str]
    fault: float

    @abstractmethod
    def draw(self, random: Random) -> Question:
        """A question, without an id."""

    @abstractmethod
    def trace(self, question: Question, random: Random, fault: float) -> str:
        """What `demonstrate` returns."""

    def stream(self, split: Split, seed: int) -> Iterator[Question]:
        random = Random(f"{self.name}/{split}/{seed}")
        while True:
            yield self.draw(random)

    def demonstrate(self, question: Question, random: Random, fault: float | None = None) -> str:
        if fault is not None:
            check_fault(self, fault)
        return self.trace(question, random, self.fault if fault is None else fault)
