"""Grade-school word problems."""

from __future__ import annotations

import re
from random import Random

from gatewright.rl.rewards import NumericReward, last_number
from gatewright.rl.tasks.base import register_task
from gatewright.rl.tasks.prompts import NUMBER
from gatewright.rl.tasks.question import Question
from gatewright.rl.tasks.rows import Row, RowsTask


@register_task("gsm8k")
class Gsm8k(RowsTask):
    """GSM8K (https://arxiv.org/abs/2110.14168): ``question`` and ``answer``, the latter ``reasons #### number``.

    The demonstrator writes those reasons, without the marks for a calculator, and is never at fault.
    """

    source = "openai/gsm8k"
    subsets = ("main",)

    def read(self, row: Row) -> Question:
        question, answer = row.get("question", str), row.get("answer", str)
        reasons, mark, number = answer.rpartition("####")
        if not mark or last_number(number) is None:
            raise row.wrong("answer")
        plain = re.sub(r"<<[^<>]*>>", "", reasons).strip()
        return Question("", NUMBER.format(question), number.strip(), {"question": question, "reasons": plain})

    def make_reward(self) -> NumericReward:
        return NumericReward(self.delimiter)

    def demonstrate(self, question: Question, random: Random, fault: float | None = None) -> str:
        return f"{question.columns['reasons']}\n{self.delimiter} {question.answer}"
