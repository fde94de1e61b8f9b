"""Rewards: what a completion is worth, as functions with TRL's signature."""

from __future__ import annotations

from gatewright.rl.rewards.base import AnswerReward, Counts, Reward, RewardFunction, after_delimiter, counting, totals
from gatewright.rl.rewards.choice import ChoiceReward
from gatewright.rl.rewards.expression import ExpressionReward
from gatewright.rl.rewards.form import FormReward
from gatewright.rl.rewards.mathematics import MathReward
from gatewright.rl.rewards.numeric import NumericReward, last_number
from gatewright.rl.rewards.text import TextReward
from gatewright.rl.rewards.weighted import WeightedReward

__all__ = [
    "AnswerReward",
    "ChoiceReward",
    "Counts",
    "ExpressionReward",
    "FormReward",
    "MathReward",
    "NumericReward",
    "Reward",
    "RewardFunction",
    "TextReward",
    "WeightedReward",
    "after_delimiter",
    "counting",
    "last_number",
    "totals",
]
