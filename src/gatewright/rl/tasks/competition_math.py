"""Problems of mathematics competitions."""

from __future__ import annotations

from random import Random

from gatewright.rl.rewards import MathReward
from gatewright.rl.tasks.base import register_task
from gatewright.rl.tasks.prompts import EXPRESSION
from gatewright.rl.tasks.question import Question
from gatewright.rl.tasks.rows import Row, RowsTask

BOXED = r"\boxed{"


@register_task("math")
class CompetitionMath(RowsTask):
    r"""MATH (https://arxiv.org/abs/2103.03874): columns ``problem`` and ``solution``, with the answer in ``\boxed{}``.

    A column ``answer``, as MATH-500 has, is taken instead. The demonstrator writes the solution and is never at fault.
    """

    source = "EleutherAI/hendrycks_math"
    subsets = (
        "algebra",
        "counting_and_probability",
        "geometry",
        "intermediate_algebra",
        "number_theory",
        "prealgebra",
        "precalculus",
    )

    def read(self, row: Row) -> Question:
        problem, solution = row.get("problem", str), row.get("solution", str)
        answer = row.get("answer", str) if "answer" in row else boxed(solution)
        if not answer:
            raise row.wrong("solution")
        return Question("", EXPRESSION.format(problem), answer, {"question": problem, "reasons": solution})

    def make_reward(self) -> MathReward:
        return MathReward(self.delimiter)

    def demonstrate(self, question: Question, random: Random, fault: float | None = None) -> str:
        return f"{question.columns['reasons']}\n{self.delimiter} {question.answer}"


def boxed(solution: str) -> str | None:
    r"""What the last ``\boxed{}`` holds, its own braces balanced; None if there is none."""
    start = solution.rfind(BOXED)
    depth = 0
    for position in range(start + len(BOXED) - 1, len(solution) if start >= 0 else 0):
        depth += {"{": 1, "}": -1}.get(solution[position], 0)
        if depth == 0:
            return solution[start + len(BOXED) : position].strip()
    return None
