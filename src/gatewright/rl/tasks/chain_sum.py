"""Sums and differences one after another, with every running sum written down."""

from __future__ import annotations

from random import Random

from gatewright.rl.rewards import NumericReward
from gatewright.rl.tasks.base import check_fault, check_range, register_task
from gatewright.rl.tasks.generated import SmallTask
from gatewright.rl.tasks.question import Question


@register_task("chain_sum")
class ChainSum(SmallTask):
    """``47+12-09-31=`` with the completion ``59,50,19#19$``; no running sum leaves what ``digits`` digits can write.

    A demonstrator at fault forgets to borrow: in each difference that needs it, with the chance ``fault``, it takes
    every digit's difference modulo 10, and goes on from there consistently. So each of a question's b borrowing
    differences must go well, which has the chance (1 − fault)^b: the skill is there, and one choice of it is wrong.
    """

    alphabet = "0123456789+-=,#$"

    def __init__(self, *, terms: int = 4, digits: int = 2, fault: float = 0.6) -> None:
        check_range(self, "terms", terms, 2, 8)
        check_range(self, "digits", digits, 2, 4)
        check_fault(self, fault)
        self.terms, self.digits, self.fault = terms, digits, fault

    @property
    def prompt_width(self) -> int:
        return self.terms * (self.digits + 1)

    @property
    def max_trace_length(self) -> int:
        return self.terms * (self.digits + 1)  # a running sum less than terms, then the answer and the end

    def draw(self, random: Random) -> Question:
        highest = 10**self.digits - 1
        total = random.randint(0, highest)
        terms = [total]
        for _ in range(self.terms - 1):
            rising = random.random() < 0.5 if 0 < total < highest else total == 0
            term = random.randint(1, highest - total) if rising else -random.randint(1, total)
            terms.append(term)
            total += term
        signed = "".join(f"{'-' if term < 0 else '+'}{abs(term):0{self.digits}d}" for term in terms)
        return Question("", f"{signed[1:]}=", f"{total:0{self.digits}d}", {"terms": terms})

    def make_reward(self) -> NumericReward:
        return NumericReward(self.delimiter)

    def trace(self, question: Question, random: Random, fault: float) -> str:
        total, *terms = question.columns["terms"]
        written = []
        for term in terms:
            forgets = random.random() < fault
            total = self._minus_without_borrowing(total, -term) if term < 0 and forgets else total + term
            total %= 10**self.digits
            written.append(f"{total:0{self.digits}d}")
        return f"{','.join(written)}{self.delimiter}{written[-1]}{self.end}"

    def _minus_without_borrowing(self, total: int, term: int) -> int:
        places = [10**place for place in range(self.digits)]
        return sum((total // place - term // place) % 10 * place for place in places)
