"""Decimal numbers in other bases, by repeated division."""

from __future__ import annotations

from random import Random

from gatewright.errors import UserError
from gatewright.rl.rewards import NumericReward
from gatewright.rl.tasks.base import check_fault, check_range, register_task
from gatewright.rl.tasks.generated import SmallTask
from gatewright.rl.tasks.question import Question


@register_task("base_conversion")
class BaseConversion(SmallTask):
    """``013>2=`` with the completion ``006:1,003:0,001:1,000:1#1101$``: quotients, remainders, and these from the end.

    A demonstrator at fault, with the chance ``fault``, forgets to turn the remainders round. That is wrong unless they
    read alike from both ends.
    """

    alphabet = "0123456789>:=,#$"

    def __init__(self, *, digits: int = 3, bases: tuple[int, ...] = (2, 3, 5, 7), fault: float = 0.5) -> None:
        check_range(self, "digits", digits, 2, 4)
        check_fault(self, fault)
        if not bases:
            raise UserError(f"task '{self.name}'.bases: give at least one of 2 to 9")
        for base in bases:
            check_range(self, "bases", base, 2, 9)
        self.digits, self.bases, self.fault = digits, tuple(bases), fault

    @property
    def prompt_width(self) -> int:
        return self.digits + 3

    @property
    def max_trace_length(self) -> int:
        steps = len(_divisions(10**self.digits - 1, min(self.bases)))
        return steps * (self.digits + 3) + steps + 1

    def draw(self, random: Random) -> Question:
        number, base = random.randint(1, 10**self.digits - 1), random.choice(self.bases)
        answer = "".join(str(remainder) for _, remainder in reversed(_divisions(number, base)))
        return Question("", f"{number:0{self.digits}d}>{base}=", answer, {"number": number, "base": base})

    def make_reward(self) -> NumericReward:
        return NumericReward(self.delimiter)

    def trace(self, question: Question, random: Random, fault: float) -> str:
        steps = _divisions(question.columns["number"], question.columns["base"])
        remainders = [str(remainder) for _, remainder in steps]
        if not random.random() < fault:
            remainders.reverse()
        written = ",".join(f"{quotient:0{self.digits}d}:{remainder}" for quotient, remainder in steps)
        return f"{written}{self.delimiter}{''.join(remainders)}{self.end}"


def _divisions(number: int, base: int) -> list[tuple[int, int]]:
    found = []
    while number:
        number, remainder = divmod(number, base)
        found.append((number, remainder))
    return found
