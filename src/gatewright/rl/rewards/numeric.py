"""Numbers as people and models write them, compared exactly."""

from __future__ import annotations

import re
from fractions import Fraction

from gatewright.rl.rewards.base import AnswerReward

_SIGN = "[+\u2212\ufe63\uff0d\u2013-]"
_CURRENCY = r"(?:\\?\$|[€£¥₹])"
_UNSIGNED = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9])\.[0-9]+"
_NUMBER = re.compile(
    rf"(?<![\w^)])(?<![0-9]\.)"  # no second half of a word, a power, a difference or a version
    rf"(?P<sign>{_SIGN}?)(?:{_CURRENCY}\s?(?P<inner>{_SIGN}?))?"
    rf"(?:(?P<whole>[0-9]+)\s+(?=[0-9]+/[0-9]))?"
    rf"(?P<value>{_UNSIGNED})(?:[eE](?P<exponent>[+-]?[0-9]{{1,3}})(?![0-9]))?"
    rf"(?:\s?/\s?(?P<divisor>{_UNSIGNED}))?"
)
_LONGEST = 1000
"""Characters that a number may have: longer ones are noise, and converting takes time that grows with the square."""


class NumericReward(AnswerReward):
    """1 if the last number after the delimiter equals the answer exactly.

    1,234.50 equals 1234.5; a minus may be any of Unicode's; 3/4 equals 0.75 and 1 3/4 equals 1.75; currencies and units
    are not looked at, a percent sign is a unit (50% equals 50, not 0.5).
    """

    def read(self, text: str) -> Fraction | None:
        return last_number(text)

    def score(self, completion: str, answer: str) -> float:
        expected = last_number(str(answer))
        if expected is None:
            raise ValueError(f"the answer {answer!r} has no number")
        return float(self.extract(completion) == expected)


def last_number(text: str) -> Fraction | None:
    """The last number in ``text``, exactly; None if there is none, or if it divides by 0 or is absurdly long."""
    matches = list(_NUMBER.finditer(text.replace("{,}", ",")))
    if not matches or len(matches[-1].group()) > _LONGEST:
        return None
    found = matches[-1]
    value = _plain(found["value"]) * Fraction(10) ** int(found["exponent"] or 0)
    if found["divisor"]:
        divisor = _plain(found["divisor"])
        if not divisor:
            return None
        value /= divisor
    value += int(found["whole"] or 0)
    signs = found["sign"] + (found["inner"] or "")
    return -value if len(signs.replace("+", "")) % 2 else value


def _plain(digits: str) -> Fraction:
    return Fraction(digits.replace(",", ""))
