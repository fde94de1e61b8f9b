"""A gate in a convolutional network is the gated unit, pixel by pixel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gatewright.errors import UserError
from gatewright.parts.gates.conv import GatedConv2d
from gatewright.parts.gates.forms import FORMS
from gatewright.parts.gates.unit import GatedUnit, make_gate
from gatewright.registry import list_parts

C, C_OUT = 6, 10


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def pair(gate: str, in_channels: int = C, out_channels: int = C_OUT, **knobs: Any) -> tuple[GatedConv2d, GatedUnit]:
    """The convolution and the unit with the same weights."""
    torch.manual_seed(0)
    unit = make_gate(gate, in_channels, out_channels, **knobs).double()
    conv = GatedConv2d(gate, in_channels, out_channels, **knobs).double()
    weights = {"up_proj.weight", "gate_proj.weight"}
    state = {k: v[:, :, None, None] if k in weights else v for k, v in unit.state_dict().items()}
    conv.load_state_dict(state)
    return conv, unit


def assert_same_by_pixel(conv: GatedConv2d, unit: GatedUnit, x: Tensor) -> None:
    y = conv(x)
    assert y.shape == (x.shape[0], unit.up_proj.out_features, *x.shape[2:])
    for b in range(x.shape[0]):
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                torch.testing.assert_close(y[b, :, i, j], unit(x[b, :, i, j]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("gate", list_parts("gate"))
def test_every_gate(gate: str) -> None:
    assert_same_by_pixel(*pair(gate), draw(2, C, 3, 4))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("gate_norm", ["none", "before", "after"])
def test_every_form(form: str, gate_norm: str) -> None:
    conv, unit = pair("pagelu", C, C, alpha=0.3, form=form, gate_norm=gate_norm)
    assert (conv.gate_proj is None) == form.startswith("self")
    assert_same_by_pixel(conv, unit, draw(2, C, 3, 4))


@pytest.mark.parametrize(
    "alpha", ["learnable_0.3", {"name": "learnable", "per": "channel"}, "input_entropy", "input_projection"]
)
def test_every_alpha(alpha: Any) -> None:
    conv, unit = pair("paglu", alpha=alpha)
    assert_same_by_pixel(conv.eval(), unit.eval(), draw(2, C, 3, 4))
    conv(draw(2, C, 3, 4)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in conv.parameters())


def test_is_convolutions_in_a_glu() -> None:
    conv, _ = pair("paglu", alpha=1.0)
    x = draw(2, C, 3, 4)
    torch.testing.assert_close(conv(x), torch.nn.functional.glu(torch.cat([conv.up_proj(x), conv.gate_proj(x)], 1), 1))


def test_layouts() -> None:
    conv, _ = pair("paswishu", bias=False)
    assert conv.up_proj.bias is None
    x = draw(2, C, 3, 4)
    torch.testing.assert_close(conv(x.to(memory_format=torch.channels_last)), conv(x))
    torch.testing.assert_close(conv(x[1]), conv(x)[1])
    block = nn.Sequential(nn.Conv2d(3, C, 3), conv, nn.BatchNorm2d(C_OUT)).double()
    assert block(draw(2, 3, 9, 8)).shape == (2, C_OUT, 7, 6)


def test_compiles_in_one_graph() -> None:
    conv, _ = pair("pagelu", alpha="learnable", gate_norm="before")
    x = draw(2, C, 3, 4)
    torch.testing.assert_close(torch.compile(conv, fullgraph=True, backend="aot_eager")(x), conv(x))


@pytest.mark.parametrize(
    ("gate", "knobs", "words"),
    [
        ("paglo", {}, "did you mean 'paglu'"),
        ("swiglu", {"alpha": 0.5}, "has no alpha"),
        ("paglu", {"alpha": 2.0}, "must be in"),
        ("paglu", {"form": "skip"}, "must be 6"),
    ],
)
def test_mistakes(gate: str, knobs: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        GatedConv2d(gate, C, C_OUT, **knobs)
    with pytest.raises(UserError, match="out_channels=0"):
        GatedConv2d("paglu", C, 0)
