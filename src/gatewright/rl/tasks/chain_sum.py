"""Sums and differences one after another, with every running sum written down."""

from __future__ import annotations

from itertools import accumulate, permutations
from random import Random

from gatewright.rl.rewards import NumericReward
from gatewright.rl.tasks.base import check_fault, check_range, register_task
from gatewright.rl.tasks.generated import SmallTask
from gatewright.rl.tasks.question import Question

MOST_TERMS_IN_ANY_ORDER = 6


@register_task("chain_sum")
class ChainSum(SmallTask):
    """``47+12-09-31=`` with the completion ``59,50,19#19$``; no running sum leaves what ``digits`` digits can write.

    A demonstrator at fault forgets to borrow: in each difference that needs it, with the chance ``fault``, it takes
    every digit's difference modulo 10, and goes on from there consistently. So each of a question's b borrowing
    differences must go well, which has the chance (1 − fault)^b: the skill is there, and one choice of it is wrong.

    With ``any_order`` a completion takes the terms in an order of its own and names each:
    ``-09=38,-31=07,+12=19#19$``. The demonstrator chooses evenly among all orders whose running sums stay in range. So
    paths go different ways from their first token on, and some ways need fewer borrows than others.
    """

    alphabet = "0123456789+-=,#$"

    def __init__(self, *, terms: int = 4, digits: int = 2, fault: float = 0.6, any_order: bool = False) -> None:
        check_range(self, "terms", terms, 2, MOST_TERMS_IN_ANY_ORDER if any_order else 8)
        check_range(self, "digits", digits, 2, 4)
        check_fault(self, fault)
        self.terms, self.digits, self.fault, self.any_order = terms, digits, fault, any_order

    @property
    def prompt_width(self) -> int:
        return self.terms * (self.digits + 1)

    @property
    def max_trace_length(self) -> int:
        step = 2 * (self.digits + 1) + 1 if self.any_order else self.digits + 1
        return (self.terms - 1) * step + self.digits + 1  # then the answer and the end

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
        if self.any_order:
            terms = random.choice(self._orders(total, terms))
        written = []
        for term in terms:
            forgets = random.random() < fault
            total = self._minus_without_borrowing(total, -term) if term < 0 and forgets else total + term
            total %= 10**self.digits
            named = f"{'-' if term < 0 else '+'}{abs(term):0{self.digits}d}=" if self.any_order else ""
            written.append(f"{named}{total:0{self.digits}d}")
        return f"{','.join(written)}{self.delimiter}{total:0{self.digits}d}{self.end}"

    def _orders(self, total: int, terms: list[int]) -> list[tuple[int, ...]]:
        """All orders of the terms in which running sums can be written."""
        places = range(10**self.digits)
        return [
            order
            for order in permutations(terms)
            if all(running in places for running in accumulate(order, initial=total))
        ]

    def _minus_without_borrowing(self, total: int, term: int) -> int:
        places = [10**place for place in range(self.digits)]
        return sum((total // place - term // place) % 10 * place for place in places)
