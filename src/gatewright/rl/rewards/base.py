"""What a reward is: a score for each completion, called the way TRL calls its reward functions."""

from __future__ import annotations

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from gatewright.errors import UserError, did_you_mean
from gatewright.rl.rewards.isolation import Isolated, Item, Outcome, Raised, Scored, TimedOut


class RewardFunction(Protocol):
    """TRL's signature: everything by keyword, a list as long as ``completions`` back."""

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]: ...


@dataclass
class Counts:
    """What has become of the completions a reward was asked about."""

    scored: int = 0
    raised: int = 0
    """Scored 0 because the scorer raised, ended its process, or gave something that is not a finite number."""
    timed_out: int = 0
    """Scored 0 because the scorer took longer than the reward's ``time_limit``."""
    first_error: str | None = None
    """The first of what ``raised`` counts."""


class Reward(ABC):
    """A reward function for TRL, and for the trainer here, made of a score for one completion.

    A subclass writes `score`. Its parameters besides the completion name the columns of the questions that it needs
    (``answer`` is one of every question's). A score that raises is 0 and counted in `counts`.

    With a ``time_limit`` (seconds a completion may take) the scores are computed in a process of their own, which is
    killed when the time is up: that also ends a regular expression or an extension module that never returns, and it
    works in any thread, where signals work in the main thread alone. The class must then stand in a module or a file,
    and the reward must be picklable. Without a limit the scores are computed in this process: for scorers whose time is
    bounded by the length of the completion, as it is for all here but `MathReward`.
    """

    time_limit: float | None = None

    @abstractmethod
    def score(self, *completion: Any, **columns: Any) -> float:
        """What one completion is worth; subclasses narrow this to ``(self, completion: str, answer: str)`` or so."""

    def warm_up(self) -> None:  # noqa: B027 (few rewards have anything to do)
        """Do what should not count against the first completion's time, such as imports."""

    @property
    def __name__(self) -> str:
        """The name by which TRL logs a reward."""
        return type(self).__qualname__

    @cached_property
    def counts(self) -> Counts:
        """What has happened since this reward was made."""
        return Counts()

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """The scores of ``completions``, texts or lists of chat messages of which the last one counts.

        ``columns`` holds a list for each column of the questions, aligned with ``completions``; what `score` does not
        name is not looked at. Raises `UserError` for a column that is missing or too short.
        """
        chosen = self._chosen(columns, len(completions))
        items = [
            (text_of(completion), {name: values[i] for name, values in chosen.items()})
            for i, completion in enumerate(completions)
        ]
        if self.time_limit is None:
            outcomes: Iterator[Outcome] = (attempt(self.score, item) for item in items)
        else:
            outcomes = self._isolated.run(items, self.time_limit)
        return [self._settle(outcome) for outcome in outcomes]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_isolated", "counts")}

    @cached_property
    def _isolated(self) -> Isolated:
        return Isolated(self)

    def _chosen(self, columns: dict[str, Any], count: int) -> dict[str, Sequence[Any]]:
        chosen = {}
        for name, parameter in list(inspect.signature(self.score).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            if name not in columns and parameter.default is parameter.empty:
                near = did_you_mean(name, columns) or f" (columns: {', '.join(sorted(columns)) or 'none'})"
                raise UserError(f"reward '{self.__name__}' needs the column '{name}'{near}")
            if name in columns:
                if len(columns[name]) != count:
                    raise UserError(f"column '{name}' has {len(columns[name])} values for {count} completions")
                chosen[name] = columns[name]
        return chosen

    def _settle(self, outcome: Outcome) -> float:
        self.counts.scored += 1
        if isinstance(outcome, Scored):
            return outcome.value
        if isinstance(outcome, TimedOut):
            self.counts.timed_out += 1
        else:
            self.counts.raised += 1
            self.counts.first_error = self.counts.first_error or outcome.error
        return 0.0


class AnswerReward(Reward):
    """1 for a right answer, else 0, where the answer is what stands after the one delimiter of the completion."""

    def __init__(self, delimiter: str) -> None:
        if not delimiter:
            raise UserError("delimiter='': a reward needs the text that ends the thinking")
        self.delimiter = delimiter

    @abstractmethod
    def read(self, text: str) -> Hashable | None:
        """The answer that ``text`` gives, equal for equal answers however they are written; None for none."""

    def extract(self, completion: str) -> Hashable | None:
        """The answer of a whole completion, for majority votes; None if it has none or repeats the delimiter."""
        text = after_delimiter(completion, self.delimiter)
        return None if text is None else self.read(text)


@contextmanager
def counting(reward: RewardFunction) -> Iterator[Callable[[], dict[str, int]]]:
    """Inside, what has been scored, has raised and has timed out since the start; for one step's log."""
    before = totals(reward)
    yield lambda: {name: count - before[name] for name, count in totals(reward).items()}


def totals(reward: RewardFunction) -> dict[str, int]:
    """``{"scored", "raised", "timed_out"}`` of a reward, or sums over those it is composed of; 0 for functions."""
    if hasattr(reward, "rewards"):
        parts = [totals(part) for part in reward.rewards]
        return {name: sum(part[name] for part in parts) for name in ("scored", "raised", "timed_out")}
    counts = reward.counts if isinstance(reward, Reward) else Counts()
    return {"scored": counts.scored, "raised": counts.raised, "timed_out": counts.timed_out}


def after_delimiter(completion: str, delimiter: str) -> str | None:
    """What follows the delimiter; None if it does not occur, or occurs again."""
    before, _, after = completion.partition(delimiter)
    return None if len(before) == len(completion) or delimiter in after else after


def text_of(completion: Any) -> str:
    """The text of a completion: itself, or the content of the last of a conversation's messages."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def attempt(score: Callable[..., float], item: Item) -> Outcome:
    """Score one item; whatever goes wrong is the outcome."""
    try:
        completion, columns = item
        value = float(score(completion, **columns))
    except Exception as error:
        return Raised(" ".join(f"{type(error).__name__}: {error}".split()))
    return Scored(value) if math.isfinite(value) else Raised(f"the score is {value}")
