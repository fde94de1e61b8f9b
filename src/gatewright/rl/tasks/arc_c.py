"""Grade-school science questions that simple methods get wrong."""

from __future__ import annotations

from dataclasses import replace

from gatewright.rl.rewards import ChoiceReward
from gatewright.rl.tasks.base import register_task
from gatewright.rl.tasks.prompts import LETTER
from gatewright.rl.tasks.question import Question
from gatewright.rl.tasks.rows import Row, RowsTask, multiple_choice


@register_task("arc_c")
class ArcChallenge(RowsTask):
    """ARC-Challenge (https://arxiv.org/abs/1803.05457): ``id``, ``question``, ``choices`` {text, label}, ``answerKey``.

    Some questions label their choices 1 to 4; here all are lettered.
    """

    source = "allenai/ai2_arc"
    subsets = ("ARC-Challenge",)
    split_names = {"train": "train", "validation": "validation", "test": "test"}

    def read(self, row: Row) -> Question:
        question, choices, key = row.get("question", str), row.get("choices", dict), row.get("answerKey", str)
        if not {"text", "label"} <= choices.keys() or len(choices["text"]) != len(choices["label"]):
            raise row.wrong("choices")
        if key not in choices["label"]:
            raise row.wrong("answerKey")
        made = multiple_choice(LETTER, question, choices["text"], choices["label"].index(key))
        return replace(made, id=row.get("id", str) if "id" in row else "")

    def make_reward(self) -> ChoiceReward:
        return ChoiceReward(self.delimiter)
