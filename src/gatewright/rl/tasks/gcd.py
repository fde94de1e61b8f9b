"""Greatest common divisors by Euclid's algorithm."""

from __future__ import annotations

import math
from random import Random

from gatewright.rl.rewards import NumericReward
from gatewright.rl.tasks.base import check_fault, check_range, register_task
from gatewright.rl.tasks.generated import SmallTask
from gatewright.rl.tasks.question import Question


@register_task("gcd")
class Gcd(SmallTask):
    """``48,36=`` with the completion ``12,00#12$``: Euclid's remainders down to 0, and the last one above it.

    A demonstrator at fault, with the chance ``fault``, takes its last step but one for the last: it leaves the last
    remainder above 0 out, goes from the one before to 0 and answers that, which is always too large.
    """

    alphabet = "0123456789=,#$"

    def __init__(self, *, digits: int = 2, fault: float = 0.5) -> None:
        check_range(self, "digits", digits, 2, 4)
        check_fault(self, fault)
        self.digits, self.fault = digits, fault

    @property
    def prompt_width(self) -> int:
        return 2 * self.digits + 2

    @property
    def max_trace_length(self) -> int:
        small, large = 1, 2  # neighbours of Fibonacci's take the most steps for their size (Lamé)
        while small + large < 10**self.digits:
            small, large = large, small + large
        return (len(_remainders(large, small)) + 1) * (self.digits + 1)

    def draw(self, random: Random) -> Question:
        small, large = sorted(random.sample(range(1, 10**self.digits), 2))
        prompt = f"{large:0{self.digits}d},{small:0{self.digits}d}="
        return Question("", prompt, f"{math.gcd(large, small):0{self.digits}d}", {"pair": [large, small]})

    def make_reward(self) -> NumericReward:
        return NumericReward(self.delimiter)

    def trace(self, question: Question, random: Random, fault: float) -> str:
        large, small = question.columns["pair"]
        kept = [large, small, *_remainders(large, small)]
        if random.random() < fault:
            del kept[-2]
        written = [f"{number:0{self.digits}d}" for number in kept]
        steps = written[2:] or written[-1:]
        return f"{','.join(steps)}{self.delimiter}{written[-2]}{self.end}"


def _remainders(large: int, small: int) -> list[int]:
    found = []
    while small:
        large, small = small, large % small
        found.append(small)
    return found
