"""What a gated block promises at the ends of α, and beside the blocks it is compared with."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gatewright import make_gate
from gatewright.errors import UserError
from gatewright.model.initialise import initialise
from gatewright.parts.feedforward.base import FeedForward
from gatewright.parts.inits.fan_in import FanInInit
from gatewright.parts.part import Dims
from gatewright.registry import create, entries

DIMS = Dims(n_embd=16, bias=True)
ACTIVATIONS = sorted(entries("activation"))


def block(spec: Any, **context: Any) -> FeedForward:
    made: FeedForward = create("feedforward", spec, DIMS, hidden=24, **context)
    initialise(made, FanInInit(DIMS), seed=0)
    return made


def signal(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(3, 7, 16, generator=torch.Generator().manual_seed(1)).to(dtype)


def copy_projections(source: FeedForward, target: FeedForward) -> None:
    """Give both blocks the same up, down and (where both have one) gate projections."""
    state = {name.removeprefix("unit."): value for name, value in source.state_dict().items()}
    own = target.state_dict()
    for name in own:
        if name.removeprefix("unit.") in state and "alpha" not in name:
            own[name] = state[name.removeprefix("unit.")]
    target.load_state_dict(own)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("form", ["preserve", "self_preserve", "self"])
def test_preserve_at_zero_is_the_plain_block_bit_for_bit(form: str, activation: str, dtype: torch.dtype) -> None:
    plain = block("standard", activation=activation).to(dtype)
    gated = block("paunit", activation=activation, form=form, alpha=0.0).to(dtype)
    copy_projections(plain, gated)
    x = signal(dtype)
    assert torch.equal(gated(x), plain(x))


@pytest.mark.parametrize("norm", ["before", "after"])
def test_preserve_at_zero_is_the_plain_block_with_gate_norm_too(norm: str) -> None:
    plain = block("standard", activation="gelu")
    gated = block("pagelu", form="preserve", alpha=0.0, gate_norm=norm)
    copy_projections(plain, gated)
    assert torch.equal(gated(signal()), plain(signal()))


def test_preserve_at_zero_gives_the_plain_blocks_gradients() -> None:
    plain, gated = block("standard", activation="gelu"), block("pagelu", form="preserve", alpha=0.0)
    copy_projections(plain, gated)
    for made in (plain, gated):
        made(signal()).square().sum().backward()
    assert torch.equal(gated.up_proj.weight.grad, plain.up_proj.weight.grad)
    assert torch.equal(gated.down_proj.weight.grad, plain.down_proj.weight.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("unit", "glu"), [("paglu", "glu"), ("pareglu", "reglu"), ("pagelu", "geglu"), ("pasilu", "swiglu")]
)
def test_gate_at_one_is_the_glu_bit_for_bit(unit: str, glu: str, dtype: torch.dtype) -> None:
    expected, gated = block(glu).to(dtype), block(unit, alpha=1.0).to(dtype)
    copy_projections(expected, gated)
    x = signal(dtype)
    assert torch.equal(gated(x), expected(x))


def test_swish_at_its_start_is_silu() -> None:
    expected, gated = block("swiglu"), block("paswishu", alpha=1.0)
    copy_projections(expected, gated)
    torch.testing.assert_close(gated(signal()), expected(signal()), atol=1e-6, rtol=0)


def test_gate_at_zero_is_affine_and_its_gate_projection_is_dead() -> None:
    """Not a baseline with an activation: the seed's claim that α = 0 is the plain block holds for `preserve` alone."""
    gated = block("pagelu", alpha=0.0).double()
    x, y = signal(torch.float64), signal(torch.float64).flip(0)
    middle = (gated(x) + gated(y)) / 2
    torch.testing.assert_close(gated((x + y) / 2), middle, atol=1e-12, rtol=0)
    gated(x).square().sum().backward()
    assert not gated.gate_proj.weight.grad.any()
    assert gated.up_proj.weight.grad.any()


def test_blend_goes_from_the_plain_block_to_the_gate_alone() -> None:
    plain = block("standard", activation="gelu")
    at_zero, at_one = (block("pagelu", form="blend", alpha=alpha) for alpha in (0.0, 1.0))
    for gated in (at_zero, at_one):
        copy_projections(plain, gated)
    x = signal()
    assert torch.equal(at_zero(x), plain(x))
    alone = at_one.down_proj(torch.sigmoid(at_one.gate_proj(x)))
    assert torch.equal(at_one(x), alone)


def test_skip_at_zero_is_the_input_and_at_one_the_glu() -> None:
    for alpha in (0.0, 1.0):
        unit = make_gate("paglu", 16, 16, alpha=alpha, form="skip")
        x = signal()
        expected = x if alpha == 0 else torch.sigmoid(unit.gate_proj(x)) * unit.up_proj(x)
        assert torch.equal(unit(x), expected)


def test_self_forms_have_no_gate_projection() -> None:
    two, one = (make_gate("pagelu", 16, 24, form=form) for form in ("preserve", "self"))
    assert one.gate_proj is None
    assert sum(p.numel() for p in one.parameters()) == 16 * 24 + 24
    assert sum(p.numel() for p in two.parameters()) == 2 * (16 * 24 + 24)


def test_skip_needs_square_projections() -> None:
    with pytest.raises(UserError, match="form 'skip' mixes with its input: width 24 must be 16"):
        make_gate("paglu", 16, 24, form="skip")


@pytest.mark.parametrize("kind", ["learnable", "scheduler_cosine", "input_projection", 0.3])
def test_alpha_kinds_in_a_unit(kind: Any) -> None:
    unit = make_gate("pagelu", 16, 24, alpha=kind)
    assert unit(signal()).shape == (3, 7, 24)


def test_alpha_per_channel_gates_each_channel_by_itself() -> None:
    unit = make_gate("paglu", 16, 24, alpha={"name": "learnable", "per": "channel", "range": "clamp"})
    with torch.no_grad():
        unit.gate.alpha.raw.copy_(torch.arange(24) % 2)
    x = signal()
    a, b = unit.up_proj(x), unit.gate_proj(x)
    expected = torch.where(torch.arange(24) % 2 == 1, a * torch.sigmoid(b), a)
    torch.testing.assert_close(unit(x), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("alpha", ["learnable", {"name": "learnable", "per": "channel"}, "input_projection"])
def test_gradients_reach_alpha(alpha: Any) -> None:
    unit = make_gate("paglu", 16, 24, alpha=alpha)
    unit(signal()).square().sum().backward()
    gradients = [p.grad for name, p in unit.named_parameters() if "alpha" in name]
    assert gradients
    assert all(gradient is not None and gradient.any() for gradient in gradients)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pagelou", 4, 4), "unknown gate 'pagelou'; did you mean 'pagelu'?"),
        (("paglu", 0, 4), "in_features=0: must be at least 1"),
        (("paglu", 4, -1), "out_features=-1: must be at least 1"),
    ],
)
def test_make_gate_mistakes(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_gate(*arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"alpha": 0.5}, "gate 'swiglu' has no alpha, but alpha=0.5 is set"),
        ({"form": "preserve"}, "gate 'swiglu' has no form, but form='preserve' is set"),
        ({"gate_norm": "before"}, "gate 'swiglu' has no gate_norm, but gate_norm='before' is set"),
        ({"activation": "relu"}, "gate 'swiglu' fixes activation=silu, but activation='relu' is set"),
    ],
)
def test_a_glu_refuses_what_it_has_no_use_for(knobs: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        make_gate("swiglu", 4, 4, **knobs)
    assert message in str(caught.value)


def test_unknown_form_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown gate form 'preserv'; did you mean 'preserve'"):
        make_gate("paglu", 4, 4, form="preserv")


def test_names_say_form_norm_and_alpha() -> None:
    labels = {
        make_gate("pagelu", 4, 4).gate.label: "paGELU(α=0.5)",
        make_gate("pagelu", 4, 4, form="preserve", alpha=0.0).gate.label: "paGELU(preserve,α=0)",
        make_gate("paglu", 4, 4, gate_norm="after", alpha="learnable").gate.label: "paGLU(GateNorm-after,α=learnable)",
        make_gate("pagtu", 4, 4).gate.label: "paGTU(α=0.5)",
        make_gate("paunit", 4, 4, activation="relu2").gate.label: "paUnit:ReLU2(α=0.5)",
        make_gate("paunit", 4, 4, form="skip").gate.label: "paUnit(skip,α=0.5)",
        make_gate("swiglu", 4, 4).gate.label: "SwiGLU",
    }
    assert all(found == expected for found, expected in labels.items())


def test_skip_has_no_activation_and_no_dead_parameters() -> None:
    """φ does not occur in its formula; a learnable β would never get a gradient."""
    assert not list(make_gate("paswishu", 4, 4, form="skip", bias=False).gate.parameters())
    assert list(make_gate("paswishu", 4, 4, form="gate").gate.parameters())
