"""Products by long multiplication."""

from __future__ import annotations

from random import Random

from gatewright.rl.rewards import NumericReward
from gatewright.rl.tasks.base import check_fault, check_range, register_task
from gatewright.rl.tasks.generated import SmallTask
from gatewright.rl.tasks.question import Question


@register_task("product")
class Product(SmallTask):
    """``37*48=`` with the completion ``0296,1480#1776$``: the first factor times each digit of the other, then the sum.

    A demonstrator at fault forgets the carries of a partial product, each with the chance ``fault``: 37·8 becomes 246.
    Of p partial products that have carries all must go well, which has the chance (1 − fault)^p.
    """

    alphabet = "0123456789*=,#$"

    def __init__(self, *, digits: int = 2, fault: float = 0.4) -> None:
        check_range(self, "digits", digits, 2, 4)
        check_fault(self, fault)
        self.digits, self.fault = digits, fault

    @property
    def prompt_width(self) -> int:
        return 2 * self.digits + 2

    @property
    def max_trace_length(self) -> int:
        return (self.digits + 1) * (2 * self.digits + 1)

    def draw(self, random: Random) -> Question:
        low, high = 10 ** (self.digits - 1), 10**self.digits - 1
        factors = [random.randint(low, high), random.randint(low, high)]
        answer = f"{factors[0] * factors[1]:0{2 * self.digits}d}"
        return Question("", f"{factors[0]}*{factors[1]}=", answer, {"factors": factors})

    def key(self, question: Question) -> str:
        return "*".join(map(str, sorted(question.columns["factors"])))

    def make_reward(self) -> NumericReward:
        return NumericReward(self.delimiter)

    def trace(self, question: Question, random: Random, fault: float) -> str:
        first, second = question.columns["factors"]
        partial = []
        for place in range(self.digits):
            digit = second // 10**place % 10
            forgets = random.random() < fault
            partial.append((self._times_without_carrying(first, digit) if forgets else first * digit) * 10**place)
        *written, total = [f"{number:0{2 * self.digits}d}" for number in (*partial, sum(partial))]
        return f"{','.join(written)}{self.delimiter}{total}{self.end}"

    def _times_without_carrying(self, factor: int, digit: int) -> int:
        """Every digit's product modulo 10, except for the first, whose tens are written down."""
        top = 10 ** (self.digits - 1)
        rest = sum(factor // place % 10 * digit % 10 * place for place in (10**k for k in range(self.digits - 1)))
        return factor // top * digit * top + rest
