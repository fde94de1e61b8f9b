"""The forms of paGating against their formulas, and what they are at the ends of α."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import gatewright as gw
from gatewright.errors import UserError
from gatewright.parts.gates.unit import GatedUnit
from gatewright.parts.part import Dims
from gatewright.registry import create

UNITS: dict[str, Callable[[Tensor], Tensor]] = {
    "paglu": torch.sigmoid,
    "pareglu": F.relu,
    "pagelu": F.gelu,
    "pamishu": F.mish,
    "pasilu": F.silu,
    "paswishu": F.silu,  # at its start, β = 1
    "pagtu": torch.tanh,
    "paunit": F.gelu,  # unless told otherwise
}
ALPHAS = (0.0, 0.3, 1.0)


def by_formula(form: str, a: Tensor, b: Tensor, x: Tensor, phi: Callable[[Tensor], Tensor], alpha: float) -> Tensor:
    """The table of forms, written down once more."""
    sigma = torch.sigmoid
    if form.startswith("self"):
        form, b = form.removeprefix("self").removeprefix("_") or "preserve", a
    return {
        "gate": lambda: a * (alpha * phi(b) + (1 - alpha)),
        "blend": lambda: alpha * sigma(b) + (1 - alpha) * phi(a),
        "skip": lambda: alpha * (sigma(b) * a) + (1 - alpha) * x,
        "preserve": lambda: phi(a) * (1 - alpha + alpha * sigma(b)),
    }[form]()


def streams(unit: GatedUnit, x: Tensor) -> tuple[Tensor, Tensor]:
    value = F.linear(x, unit.up_proj.weight, unit.up_proj.bias)
    if unit.gate_proj is None:
        return value, value
    return value, F.linear(x, unit.gate_proj.weight, unit.gate_proj.bias)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("form", ["gate", "blend", "skip", "preserve", "self", "self_gate", "self_blend", "self_skip"])
@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_in_every_form_computes_its_formula(unit: str, form: str, alpha: float) -> None:
    torch.manual_seed(0)
    made = gw.make_gate(unit, 6, 6 if "skip" in form else 10, alpha=alpha, form=form).double()
    x = torch.randn(3, 4, 6, dtype=torch.double)
    expected = by_formula(form, *streams(made, x), x, UNITS[unit], float(torch.tensor(alpha)))
    torch.testing.assert_close(made(x), expected, atol=1e-12, rtol=1e-12)
    assert (made.gate_proj is None) == form.startswith("self")


@pytest.mark.parametrize("unit", UNITS)
def test_own_forms(unit: str) -> None:
    made = gw.make_gate(unit, 6, 10, alpha=0.4)
    assert made.gate.form.name == ("preserve" if unit == "pagtu" else "gate")


def blocks(**gated: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A gated block and the plain one, with the same weights where both have them."""
    dims = Dims(16, bias=True)
    block = create("feedforward", "pagelu", dims, hidden=40, **gated)
    plain = create("feedforward", "standard", dims, hidden=40, activation="gelu")
    plain.up_proj.load_state_dict(block.unit.up_proj.state_dict())
    plain.down_proj.load_state_dict(block.down_proj.state_dict())
    return block, plain


@pytest.mark.parametrize("form", ["preserve", "self"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_preserve_at_zero_is_the_plain_block_bit_for_bit(form: str, dtype: torch.dtype) -> None:
    block, plain = (module.to(dtype) for module in blocks(alpha=0.0, form=form))
    x = torch.randn(4, 7, 16).to(dtype)
    assert torch.equal(block(x), plain(x))
    moved, _ = (module.to(dtype) for module in blocks(alpha=0.5, form=form))
    moved.load_state_dict({k: v for k, v in block.state_dict().items() if "alpha" not in k}, strict=False)
    assert not torch.equal(moved(x), plain(x))


def test_gate_at_one_is_the_glu_bit_for_bit() -> None:
    gated, glu = gw.make_gate("pasilu", 16, 40, alpha=1.0), gw.make_gate("swiglu", 16, 40)
    glu.load_state_dict({k: v for k, v in gated.state_dict().items() if "alpha" not in k})
    x = torch.randn(4, 7, 16)
    assert torch.equal(gated(x), glu(x))


def test_gate_at_zero_is_affine() -> None:
    made = gw.make_gate("pagelu", 16, 40, alpha=0.0).double()
    x, y = torch.randn(2, 5, 16, dtype=torch.double)
    torch.testing.assert_close(made(x) + made(y) - made(torch.zeros_like(x)), made(x + y))


@pytest.mark.parametrize("place", ["before", "after"])
def test_gate_norm_stands_where_it_is_put(place: Any) -> None:
    made = gw.make_gate("paglu", 8, 12, alpha=0.7, gate_norm=place).double()
    x = torch.randn(5, 8, dtype=torch.double)
    a, b = streams(made, x)
    normed = F.layer_norm(b, (12,)).sigmoid() if place == "before" else F.layer_norm(b.sigmoid(), (12,))
    alpha = float(torch.tensor(0.7))
    torch.testing.assert_close(made(x), a * (alpha * normed + 1 - alpha))
    assert (normed < 0).any() == (place == "after")


@pytest.mark.parametrize("alpha", ["learnable", {"name": "learnable", "per": "channel"}, "input_projection"])
def test_gradients_reach_alpha(alpha: Any) -> None:
    made = gw.make_gate("paglu", 8, 12, alpha=alpha)
    made(torch.randn(5, 8)).square().sum().backward()
    gradients = [p.grad for n, p in made.named_parameters() if "alpha" in n]
    assert gradients
    assert all(g is not None and g.abs().sum() > 0 for g in gradients)


def test_mistakes() -> None:
    with pytest.raises(UserError, match="did you mean 'paglu'"):
        gw.make_gate("pagluu", 4, 4)
    with pytest.raises(UserError, match="did you mean 'preserve'"):
        gw.make_gate("paglu", 4, 4, form="preserv")
    with pytest.raises(UserError, match="width 8 must be 4"):
        gw.make_gate("paglu", 4, 8, form="skip")
    with pytest.raises(UserError, match="has no alpha"):
        gw.make_gate("swiglu", 4, 8, alpha=0.5)
    with pytest.raises(UserError, match="in_features=0"):
        gw.make_gate("paglu", 0, 8)
