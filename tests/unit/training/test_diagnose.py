"""Naming the first thing that is not finite."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from gatewright.training.diagnose import first_non_finite


class Divide(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / 0


def network(**parts: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(**{"first": nn.Linear(4, 4), **parts, "last": nn.Linear(4, 1)}))


def step(model: nn.Module) -> Callable[[], Tensor]:
    def run() -> Tensor:
        loss: Tensor = model(torch.ones(2, 4)).square().mean()
        loss.backward()
        return loss.detach()

    return run


def test_innermost_module_is_named() -> None:
    model = network(middle=nn.Sequential(OrderedDict(fine=nn.Tanh(), broken=Divide(), after=nn.Tanh())))
    assert first_non_finite(model, step(model)) == "first non-finite output in middle.broken"


def test_weights_are_looked_at_first() -> None:
    model = network()
    with torch.no_grad():
        model.get_parameter("last.bias").fill_(math.inf)
    assert first_non_finite(model, step(model)) == "the weight last.bias is not finite"


def test_gradient_where_the_forward_pass_is_fine() -> None:
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - x.detach()).sqrt()  # 0, with an infinite slope

    model = network(root=Root())
    words = first_non_finite(model, step(model))
    assert words == "the forward pass is finite; first non-finite gradient in first.bias" or words.endswith(
        "first.weight"
    )


def test_hooks_and_gradients_are_gone_afterwards() -> None:
    model = network(middle=Divide())
    first_non_finite(model, step(model))
    assert all(not module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_what_does_not_happen_again_is_said_so() -> None:
    model = network()
    assert first_non_finite(model, step(model)) == "it did not happen again when the step was repeated"
