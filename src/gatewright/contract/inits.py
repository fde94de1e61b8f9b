"""Lines about an initialisation, which is no module: it says how wide a weight's distribution is."""

from __future__ import annotations

import math

import torch
from torch import nn

from gatewright.contract.case import SMALL, Case
from gatewright.contract.line import demand, line
from gatewright.model.initialise import initialise


@line("init")
def deviations(case: Case) -> None:
    """Standard deviations are positive, finite numbers for any layer; residual outputs are no wider than others."""
    init = case.part()
    for inputs, outputs in ((16, 48), (48, 16), (1, 1)):
        layer, table = nn.Linear(inputs, outputs), nn.Embedding(outputs, inputs)
        plain, residual = init.linear_std(layer, False), init.linear_std(layer, True)
        for std in (plain, residual, init.embedding_std(table)):
            demand(isinstance(std, float) and math.isfinite(std) and std > 0, f"a standard deviation of {std!r}")
        demand(residual <= plain, f"residual outputs get {residual}, other layers {plain}")


@line("init")
def drawn(case: Case) -> None:
    """Weights drawn by it have mean 0 and the stated deviation; biases are 0."""
    init = case.part()
    linear, embedding = nn.Linear(256, 256), nn.Embedding(256, 256)
    initialise(nn.ModuleList([linear, embedding]), init, seed=1)
    demand(not linear.bias.any(), "biases are not 0")
    stated = ((linear.weight, init.linear_std(linear, False)), (embedding.weight, init.embedding_std(embedding)))
    for weight, std in stated:
        # 65,536 draws: the standard error of the mean is std/256, that of the deviation std/362
        demand(abs(weight.mean().item()) < 5 * std / 256, f"mean {weight.mean().item():.2g} with deviation {std:.2g}")
        demand(
            abs(weight.std().item() / std - 1) < 5 / 362, f"deviation {weight.std().item():.4g} instead of {std:.4g}"
        )


@line("init")
def depth(case: Case) -> None:
    """It takes any depth and width, and draws nothing itself."""
    before = torch.get_rng_state()
    for n_layer in (1, 2, 100):
        init = case.part(SMALL.at(n_layer=n_layer, n_embd=8 * n_layer))
        init.linear_std(nn.Linear(8, 8, device="meta"), True)
    demand(torch.equal(torch.get_rng_state(), before), "the global random state has moved")
