"""Word problems of GSM-Symbolic, made up by reasoning-gym."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any, get_args

from gatewright.rl.rewards import NumericReward
from gatewright.rl.tasks.base import Split, register_task
from gatewright.rl.tasks.generated import GeneratedTask
from gatewright.rl.tasks.prompts import NUMBER
from gatewright.rl.tasks.question import Question

BLOCK = 100_000
"""Questions that one seed of ours can look through."""


@register_task("gsm_symbolic")
class GsmSymbolic(GeneratedTask):
    """Questions like those of GSM8K (https://arxiv.org/abs/2410.05229), with reasons, from ``reasoning_gym``.

    The package makes item i of a data set from ``Random(seed + i)``, so that sets with neighbouring seeds are nearly
    the same. Here every split and seed has a block of seeds of its own. Its scorer gives partial credit to wrong
    answers, the reward here none. The demonstrator writes the package's own reasons and is never at fault.
    """

    def __init__(self) -> None:
        from gatewright.data.extras import import_extra

        self._gym: Any = import_extra("reasoning_gym", "rl", f"task '{self.name}'")

    def stream(self, split: Split, seed: int) -> Iterator[Question]:
        first = (seed * len(get_args(Split)) + get_args(Split).index(split)) * BLOCK
        for item in self._gym.create_dataset("gsm_symbolic", seed=first, size=BLOCK):
            plain = item["question"]
            reasons = item["metadata"]["answer_cot"].rpartition("####")[0].strip()
            yield Question("", NUMBER.format(plain), item["answer"], {"question": plain, "reasons": reasons})

    def make_reward(self) -> NumericReward:
        return NumericReward(self.delimiter)

    def demonstrate(self, question: Question, random: Random, fault: float | None = None) -> str:
        return f"{question.columns['reasons']}\n{self.delimiter} {question.answer}"
