"""Exam questions in science, technology, engineering and mathematics."""

from __future__ import annotations

from gatewright.rl.rewards import ChoiceReward
from gatewright.rl.tasks.base import register_task
from gatewright.rl.tasks.prompts import LETTER
from gatewright.rl.tasks.question import Question
from gatewright.rl.tasks.rows import Row, RowsTask, multiple_choice

SUBJECTS = frozenset(
    (
        *("abstract_algebra", "elementary_mathematics", "college_mathematics", "high_school_mathematics"),
        *("high_school_statistics", "astronomy", "conceptual_physics", "college_physics", "high_school_physics"),
        *("college_chemistry", "high_school_chemistry", "college_biology", "high_school_biology"),
        *("college_computer_science", "high_school_computer_science", "computer_security", "machine_learning"),
        "electrical_engineering",
    )
)
"""The subjects that MMLU's authors count as STEM."""


@register_task("mmlu_stem")
class MmluStem(RowsTask):
    """The STEM part of MMLU (https://arxiv.org/abs/2009.03300): ``question``, ``subject``, ``choices``, ``answer``.

    Choices are numbered from 0. Training questions are those of ``auxiliary_train``, whose subjects are not known.
    """

    source = "cais/mmlu"
    subsets = ("all",)
    split_names = {"train": "auxiliary_train", "validation": "validation", "test": "test"}

    def read(self, row: Row) -> Question | None:
        if row.get("subject", str) not in SUBJECTS | {""}:
            return None
        question, choices, answer = row.get("question", str), row.get("choices", list), row.get("answer", int)
        if not 0 <= answer < len(choices):
            raise row.wrong("answer")
        return multiple_choice(LETTER, question, choices, answer)

    def make_reward(self) -> ChoiceReward:
        return ChoiceReward(self.delimiter)
