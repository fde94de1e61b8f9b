"""Making whole models cost the same."""

from __future__ import annotations

import dataclasses
from typing import Literal

from gatewright.config.model import ModelConfig
from gatewright.errors import UserError
from gatewright.model.cost import cost
from gatewright.model.width import solve_width


def match_model(config: ModelConfig, reference: ModelConfig, by: Literal["params", "flops"]) -> ModelConfig:
    """``config`` with its feed-forward width set so that the whole model costs what ``reference`` costs.

    The match is as near as one step of ``multiple_of`` allows. Raises `UserError` where the rest of the model alone
    costs more than the reference, and where the width cannot be set.
    """

    def cost_at(hidden: int) -> int:
        total = cost(dataclasses.replace(config, hidden=hidden))
        return total.parameters if by == "params" else total.flops_per_token

    if cost_at(config.multiple_of) == cost_at(2 * config.multiple_of):
        raise UserError(f"cannot match {by}: model.feedforward sets its width itself, whatever model.hidden is")
    whole = cost(reference)
    target = whole.parameters if by == "params" else whole.flops_per_token
    if cost_at(config.multiple_of) > target:
        raise UserError(
            f"cannot match {by}: even with a feed-forward width of {config.multiple_of} the model costs more"
        )
    return dataclasses.replace(config, hidden=solve_width(cost_at, target, config.multiple_of))
