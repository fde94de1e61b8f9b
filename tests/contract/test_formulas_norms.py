"""Norms beside PyTorch's own and beside their formulas."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gatewright.parts.norms.base import Norm
from gatewright.parts.part import Dims
from gatewright.registry import create

D = 24
X = 3 * torch.randn(4, 5, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 1


def norm(spec: object) -> Norm:
    part: Norm = create("norm", spec, Dims(D)).double()
    for index, parameter in enumerate(part.parameters()):
        generator = torch.Generator().manual_seed(index)
        nn.init.normal_(parameter, 1.0, 0.3, generator=generator)
    return part


def test_layernorm_is_torchs() -> None:
    ours, theirs = norm("layernorm"), nn.LayerNorm(D).double()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(X), theirs(X), atol=1e-13, rtol=0)


def test_layernorm_without_bias_is_torchs() -> None:
    ours, theirs = norm("layernorm_nobias"), nn.LayerNorm(D, bias=False).double()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(X), theirs(X), atol=1e-13, rtol=0)


@pytest.mark.parametrize("eps", [1e-6, 0.1])
def test_rmsnorm_is_torchs(eps: float) -> None:
    ours, theirs = norm({"name": "rmsnorm", "eps": eps}), nn.RMSNorm(D, eps=eps).double()
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(ours(X), theirs(X), atol=1e-13, rtol=0)


def test_rmsnorm_takes_its_mean_in_float32() -> None:
    """256 squares of 3 in bfloat16 would not add up to 2304: the mean has to be wider than the signal."""
    part = create("norm", "rmsnorm", Dims(256)).bfloat16()
    x = torch.full((1, 256), 3.0, dtype=torch.bfloat16)
    assert torch.equal(part(x), torch.ones_like(x))


def test_dyt_is_its_formula() -> None:
    part = norm("dyt")
    expected = torch.tanh(part.scale * X) * part.weight + part.bias
    torch.testing.assert_close(part(X), expected, atol=1e-13, rtol=0)
    assert create("norm", {"name": "dyt", "start": 0.8}, Dims(D)).scale.item() == pytest.approx(0.8)


def test_none_is_the_identity() -> None:
    assert torch.equal(norm("none")(X), X)
