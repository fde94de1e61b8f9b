"""Reaching a number with three others: a task in which there is something to try."""

from __future__ import annotations

from itertools import permutations
from random import Random
from typing import NamedTuple

from gatewright.rl.rewards import ExpressionReward
from gatewright.rl.tasks.base import check_fault, check_range, register_task
from gatewright.rl.tasks.generated import SmallTask
from gatewright.rl.tasks.question import Question

SIGNS = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
HIGHEST = 99


class Attempt(NamedTuple):
    """A way to join three numbers: (a ∘ b) ∘ c, or c ∘ (a ∘ b) if ``swapped``."""

    a: int
    inner: str
    b: int
    middle: int
    outer: str
    c: int
    swapped: bool
    value: int

    @property
    def steps(self) -> str:
        left, right = (self.c, self.middle) if self.swapped else (self.middle, self.c)
        first = f"{self.a:02d}{self.inner}{self.b:02d}={self.middle:02d}"
        return f"{first},{left:02d}{self.outer}{right:02d}={self.value:02d}"

    @property
    def expression(self) -> str:
        inside = f"({self.a:02d}{self.inner}{self.b:02d})"
        return f"{self.c:02d}{self.outer}{inside}" if self.swapped else f"{inside}{self.outer}{self.c:02d}"


@register_task("countdown")
class Countdown(SmallTask):
    """``03,07,12>48=`` with a completion such as ``03+07=10,10+12=22;12-07=05,05*03=15;07-03=04,04*12=48#(07-03)*12$``.

    A completion tries up to ``attempts`` ways to join the numbers by + - * within 0 to 99, and gives the last one as an
    expression; every expression of the three numbers that reaches the target is right. A demonstrator makes 1 to
    ``attempts`` attempts, all wrong but the last; at fault, with the chance ``fault``, it makes ``attempts`` wrong ones
    and gives the last nevertheless.
    """

    alphabet = "0123456789+-*()>=,;#$"

    def __init__(self, *, largest: int = 20, attempts: int = 3, fault: float = 0.5) -> None:
        check_range(self, "largest", largest, 5, HIGHEST)
        check_range(self, "attempts", attempts, 1, 9)
        check_fault(self, fault)
        self.largest, self.attempts, self.fault = largest, attempts, fault

    @property
    def prompt_width(self) -> int:
        return len("03,07,12>48=")

    @property
    def max_trace_length(self) -> int:
        return self.attempts * len("03+07=10,10+12=22;") + len("(03+07)+12$")

    def draw(self, random: Random) -> Question:
        numbers = [random.randint(1, self.largest) for _ in range(3)]
        target = random.choice(sorted({attempt.value for attempt in attempts_with(numbers)}))
        prompt = f"{','.join(f'{number:02d}' for number in numbers)}>{target:02d}="
        return Question("", prompt, str(target), {"numbers": numbers, "target": target})

    def key(self, question: Question) -> str:
        return f"{sorted(question.columns['numbers'])} {question.columns['target']}"

    def make_reward(self) -> ExpressionReward:
        return ExpressionReward(self.delimiter)

    def trace(self, question: Question, random: Random, fault: float) -> str:
        ways, target = attempts_with(question.columns["numbers"]), question.columns["target"]
        wrong = [way for way in ways if way.value != target]
        if random.random() < fault:
            tried = random.sample(wrong, min(self.attempts, len(wrong)))
        else:
            tried = random.sample(wrong, min(random.randrange(self.attempts), len(wrong)))
            tried.append(random.choice([way for way in ways if way.value == target]))
        return f"{';'.join(way.steps for way in tried)}{self.delimiter}{tried[-1].expression}{self.end}"


def attempts_with(numbers: list[int]) -> list[Attempt]:
    """All ways to use each of the numbers once, with both results within 0 to 99."""
    found = []
    for a, b, c in dict.fromkeys(permutations(numbers)):
        for inner, join in SIGNS.items():
            middle = join(a, b)
            if not 0 <= middle <= HIGHEST:
                continue
            for outer, join_again in SIGNS.items():
                for swapped in (False, True):
                    value = join_again(c, middle) if swapped else join_again(middle, c)
                    if 0 <= value <= HIGHEST:
                        found.append(Attempt(a, inner, b, middle, outer, c, swapped, value))
    return found
