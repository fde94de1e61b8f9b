"""What a task is, and the list of those there are."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar, get_args, get_type_hints

from gatewright.errors import UserError, unknown
from gatewright.rl.rewards import AnswerReward
from gatewright.rl.tasks.question import Question
from gatewright.schema import check_keys, check_value

if TYPE_CHECKING:
    from gatewright.data import CharTokenizer

Split = Literal["train", "validation", "test"]


class Task(ABC):
    """Questions with answers that can be checked, and all that is needed to ask them.

    A completion is thinking, then ``delimiter``, then the answer, then ``end``. A subclass registers itself with
    `register_task` in a file of its own; the keyword-only arguments of its constructor are its knobs.
    """

    name: ClassVar[str]
    delimiter: ClassVar[str] = "####"
    end: ClassVar[str | None] = None
    """What ends a completion; None: the tokenizer's own end of text."""
    alphabet: ClassVar[str | None] = None
    """All characters of prompts and completions, for tasks that a tiny model can learn; None: ordinary text."""

    @abstractmethod
    def questions(self, split: Split, count: int | None = None, seed: int = 0) -> list[Question]:
        """``count`` questions of a split, the same for the same seed; None: all there are.

        No question of one split is in another, whatever the seeds. Those of ``validation`` and ``test`` are all
        different; tasks that make up questions may repeat some in ``train``. Fewer questions are the first of more.
        Raises `UserError` for an unknown split and for more questions than there are.
        """

    def at_most(self, split: Split, count: int, seed: int = 0) -> list[Question]:
        """The first ``count`` of `questions`, or all there are where there are fewer."""
        check_request(self, split, count)
        return self.questions(split, seed=seed)[:count]

    @abstractmethod
    def make_reward(self) -> AnswerReward:
        """A new reward for this task's completions."""

    @cached_property
    def reward(self) -> AnswerReward:
        """This task's reward; it keeps counts."""
        return self.make_reward()

    def demonstrate(self, question: Question, random: Random, fault: float | None = None) -> str:
        """A completion, ``end`` included, for supervised warm-up; wrong on purpose with the chance ``fault``.

        ``fault`` None takes the task's knob, 0 gives a right completion. Raises `UserError` where nobody demonstrates.
        """
        raise UserError(f"task '{self.name}' has no demonstrator")

    @property
    def prompt_width(self) -> int | None:
        """Characters of every prompt, where all are of one width."""
        return None

    @property
    def max_trace_length(self) -> int | None:
        """Characters of the longest completion that a demonstrator writes, ``end`` included.

        With a tokenizer of characters this is the least limit on new tokens that does not cut right answers off.
        """
        return None

    def check_limit(self, max_new_tokens: int) -> None:
        """Raise `UserError` for a limit on characters that would silently take the reward from long traces."""
        if self.max_trace_length is not None and max_new_tokens < self.max_trace_length:
            raise UserError(
                f"max_new_tokens={max_new_tokens}: task '{self.name}' needs {self.max_trace_length}, or long traces "
                "end before their answer and get no reward"
            )

    def tokenizer(self) -> CharTokenizer:
        """The tokenizer of the task's alphabet. Raises `UserError` for a task in ordinary text."""
        from gatewright.data import CharTokenizer

        if self.alphabet is None:
            raise UserError(f"task '{self.name}' is in ordinary text: use the tokenizer of a pretrained model")
        return CharTokenizer.of(self.alphabet)


TaskClass = TypeVar("TaskClass", bound=type[Task])
task_classes: dict[str, type[Task]] = {}


def register_task(name: str) -> Callable[[TaskClass], TaskClass]:
    """Class decorator: make a `Task` known as ``task=name``. Raises `UserError` for a name that is taken."""

    def decorate(task: TaskClass) -> TaskClass:
        other = task_classes.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (task.__module__, task.__qualname__):
            raise UserError(f"task '{name}' is registered twice: by {other.__module__} and by {task.__module__}")
        task.name = name
        task_classes[name] = task
        return task

    return decorate


def knobs(task: type[Task]) -> dict[str, inspect.Parameter]:
    """The keyword-only arguments of a task's constructor, by name."""
    parameters = inspect.signature(task).parameters
    return {name: knob for name, knob in parameters.items() if knob.kind is knob.KEYWORD_ONLY}


def build_task(name: str, settings: Mapping[str, Any]) -> Task:
    """The task of this name with knobs set. Raises `UserError` for an unknown name or knob and for a wrong type."""
    if name not in task_classes:
        raise unknown("task", name, task_classes)
    task = task_classes[name]
    check_keys(f"task '{name}'", settings, set(knobs(task)))
    hints = get_type_hints(task.__init__)
    return task(**{key: check_value(f"task '{name}'.{key}", value, hints[key]) for key, value in settings.items()})


def check_request(task: Task, split: str, count: int | None) -> None:
    """Raise `UserError` for a split that no task has, and for a count below 1."""
    if split not in get_args(Split):
        raise unknown(f"split of task '{task.name}'", split, get_args(Split))
    if count is not None and count < 1:
        raise UserError(f"count={count}: task '{task.name}' is asked for at least 1 question")


def check_fault(task: Task, fault: float) -> None:
    """Raise `UserError` for a chance outside [0, 1]."""
    if not 0 <= fault <= 1:
        raise UserError(f"task '{task.name}'.fault={fault}: is a chance, 0 to 1")


def check_range(task: Task, knob: str, value: int, low: int, high: int) -> None:
    """Raise `UserError` for a knob outside ``low`` to ``high``."""
    if not low <= value <= high:
        raise UserError(f"task '{task.name}'.{knob}={value}: must be {low} to {high}")
