"""α of a patched model: reading it, stepping it, training it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gatewright.config import TrainConfig
from gatewright.errors import UserError
from gatewright.parts.alpha.base import Alpha
from gatewright.surgery.gated_activation import gated_activations
from gatewright.training.optimizer import parameter_groups as named_groups


def alphas(model: nn.Module) -> dict[str, float]:
    """The present α of each gated block, averaged where it has many, by the path of the module that holds it.

    An input-dependent α has its mean over the last batch seen in training, NaN before.
    """
    found = {place.path: place.gated.gate.alpha.mean().detach().float().mean() for place in gated_activations(model)}
    return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True)) if found else {}


def set_step(model: nn.Module, step: int, max_steps: int) -> None:
    """Tell every α which optimizer step comes next, of how many; scheduled ones move.

    Works on patched models and on Gatewright's own. Raises `UserError` for a model without any α, for a negative step
    and for fewer steps than one.
    """
    if step < 0:
        raise UserError(f"step={step}: must not be negative")
    if max_steps < 1:
        raise UserError(f"max_steps={max_steps}: must be at least 1")
    for alpha in _alpha_modules(model):
        alpha.set_step(step, max_steps)


def alpha_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of all α's by name, each once; `UserError` if there are none to learn."""
    found: set[nn.Parameter] = set()
    for alpha in _alpha_modules(model):
        found.update(alpha.parameters())
    if not found:
        raise UserError("no α of this model is learned; patch it with alpha='learnable' or 'input_projection'")
    return {name: parameter for name, parameter in model.named_parameters() if parameter in found}


def train_only_alpha(model: nn.Module) -> dict[str, nn.Parameter]:
    """Freeze every parameter but α's, which `alpha_parameters` names and this returns."""
    chosen = alpha_parameters(model)
    model.requires_grad_(False)
    for parameter in chosen.values():
        parameter.requires_grad_(True)
    return chosen


def parameter_groups(
    model: nn.Module, learning_rate: float, alpha_learning_rate: float | None = None, weight_decay: float = 0.0
) -> list[dict[str, Any]]:
    """The trainable parameters as groups for a PyTorch optimizer, as Gatewright's own training has them.

    α has a learning rate of its own and never decays; nor do norms and biases. Raises `UserError` for values that
    `TrainConfig` refuses.
    """
    config = TrainConfig(
        learning_rate=learning_rate, alpha_learning_rate=alpha_learning_rate, weight_decay=weight_decay
    )
    config.validate()
    return [
        {
            "params": list(group.parameters.values()),
            "lr": group.learning_rate,
            "weight_decay": group.weight_decay,
            "name": group.name,
        }
        for group in named_groups(model, config)
    ]


def _alpha_modules(model: nn.Module) -> list[Alpha]:
    found = [module for module in model.modules() if isinstance(module, Alpha)]
    if not found:
        raise UserError(f"this {type(model).__name__} has no α: it is not patched")
    return found
