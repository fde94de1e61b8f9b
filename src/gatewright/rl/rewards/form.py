"""The shape of a completion, whatever its answer."""

from __future__ import annotations

from gatewright.errors import UserError
from gatewright.rl.rewards.base import Reward, after_delimiter


class FormReward(Reward):
    """1 if the delimiter occurs once, with something before and after it; for use beside another reward."""

    def __init__(self, delimiter: str) -> None:
        if not delimiter:
            raise UserError("delimiter='': a reward needs the text that ends the thinking")
        self.delimiter = delimiter

    def score(self, completion: str) -> float:
        answer = after_delimiter(completion, self.delimiter)
        return float(bool(answer and answer.strip() and completion.partition(self.delimiter)[0].strip()))
