"""Trivia with answers in a few words."""

from __future__ import annotations

from gatewright.rl.rewards import TextReward
from gatewright.rl.tasks.base import register_task
from gatewright.rl.tasks.prompts import WORDS
from gatewright.rl.tasks.question import Question
from gatewright.rl.tasks.rows import Row, RowsTask


@register_task("trivia_qa")
class TriviaQa(RowsTask):
    """TriviaQA (https://arxiv.org/abs/1705.03551): ``question_id``, ``question``, ``answer`` {value, aliases}.

    The answers of its own test split are not public: ``test`` is its validation split.
    """

    source = "mandarjoshi/trivia_qa"
    subsets = ("rc.nocontext",)
    split_names = {"train": "train", "test": "validation"}

    def read(self, row: Row) -> Question:
        question, answer = row.get("question", str), row.get("answer", dict)
        if not isinstance(answer.get("value"), str) or not isinstance(answer.get("aliases"), list):
            raise row.wrong("answer")
        known = row.get("question_id", str) if "question_id" in row else ""
        columns = {"question": question, "aliases": answer["aliases"]}
        return Question(known, WORDS.format(question), answer["value"], columns)

    def make_reward(self) -> TextReward:
        return TextReward(self.delimiter)
