"""Several rewards as one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from gatewright.errors import RunError, UserError
from gatewright.rl.rewards.base import RewardFunction


class WeightedReward:
    """Σ_k w_k r_k over reward functions r_k, which may be any of TRL's signature."""

    def __init__(self, rewards: Sequence[RewardFunction], weights: Sequence[float] | None = None) -> None:
        """``weights`` are 1 unless given. Raises `UserError` for none, or for another number of them than rewards."""
        if not rewards:
            raise UserError("rewards=[]: a sum needs at least one reward")
        self.rewards = list(rewards)
        self.weights = [1.0] * len(rewards) if weights is None else [float(weight) for weight in weights]
        if len(self.weights) != len(self.rewards):
            raise UserError(f"weights: {len(self.weights)} for {len(self.rewards)} rewards")
        if not all(map(math.isfinite, self.weights)):
            raise UserError(f"weights={self.weights}: must be finite numbers")

    @property
    def __name__(self) -> str:
        """The name by which TRL logs a reward."""
        names = [getattr(reward, "__name__", type(reward).__name__) for reward in self.rewards]
        return "+".join(f"{weight:g}*{name}" for weight, name in zip(self.weights, names, strict=True))

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float]:
        """The weighted sums. Raises `RunError` if a reward does not return one number for each completion."""
        sums = [0.0] * len(completions)
        for reward, weight in zip(self.rewards, self.weights, strict=True):
            scores = reward(prompts=prompts, completions=completions, **columns)
            if len(scores) != len(sums):
                name = getattr(reward, "__name__", type(reward).__name__)
                raise RunError(f"reward '{name}' returned {len(scores)} scores for {len(sums)} completions")
            sums = [total + weight * float(score) for total, score in zip(sums, scores, strict=True)]
        return sums
