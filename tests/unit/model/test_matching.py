"""Feed-forward widths that make models cost the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from gatewright.config import ModelConfig, load_config
from gatewright.config.model import GateConfig
from gatewright.errors import UserError
from gatewright.model import build, cost, match_model
from gatewright.model.width import solve_width
from gatewright.registry import list_parts

BASE = ModelConfig(
    n_layer=2, n_head=4, n_embd=64, block_size=32, vocab_size=97, bias=False, position="rope", activation=None
)  # fmt: skip
GATED = [name for name in list_parts("feedforward") if name != "standard"]


def feedforward_cost(config: ModelConfig, by: str) -> int:
    block = build(config, device="meta").blocks[0].feedforward.cost(config.block_size)
    return block.parameters if by == "params" else block.flops


def hidden_of(config: ModelConfig) -> int:
    return build(config, device="meta").blocks[0].feedforward.down_proj.in_features


@pytest.mark.parametrize("by", ["params", "flops"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("name", GATED)
def test_every_feedforward_matches_the_plain_block_to_half_a_step(name: str, bias: bool, by: Any) -> None:
    plain = dataclasses.replace(BASE, bias=bias)
    matched = dataclasses.replace(plain, feedforward=name, match=by)
    widths = (dataclasses.replace(matched, hidden=h) for h in (16, 24))
    step = -sum((-1) ** i * feedforward_cost(config, by) for i, config in enumerate(widths))
    assert step > 0
    off = abs(feedforward_cost(matched, by) - feedforward_cost(plain, by))
    assert off <= step / 2


def test_two_thirds_is_the_width_of_a_glu() -> None:
    assert hidden_of(dataclasses.replace(BASE, n_embd=768, n_head=12, feedforward="swiglu")) == 2048
    assert hidden_of(dataclasses.replace(BASE, feedforward="swiglu")) == 168  # 2/3 · 256 = 170.7, by eights


def test_width_keeps_the_width() -> None:
    assert hidden_of(dataclasses.replace(BASE, feedforward="swiglu", match="width")) == 256
    assert hidden_of(dataclasses.replace(BASE, feedforward="swiglu", match="width", expansion=2.5)) == 160


def test_self_forms_have_two_projections_and_so_the_plain_width() -> None:
    config = dataclasses.replace(BASE, feedforward="pagelu", gate=GateConfig(form="self"))
    assert hidden_of(config) == 256


def test_square_forms_have_the_models_width() -> None:
    assert hidden_of(dataclasses.replace(BASE, feedforward="paglu", gate=GateConfig(form="skip"))) == 64
    assert hidden_of(dataclasses.replace(BASE, feedforward={"name": "paglu", "form": "skip"})) == 64


def test_hidden_wins_over_match() -> None:
    assert hidden_of(dataclasses.replace(BASE, feedforward="swiglu", hidden=40)) == 40


def test_multiple_of_is_the_step() -> None:
    assert hidden_of(dataclasses.replace(BASE, feedforward="swiglu", multiple_of=1)) == 171
    assert hidden_of(dataclasses.replace(BASE, feedforward="swiglu", multiple_of=64)) == 192


@pytest.mark.parametrize("by", ["params", "flops"])
@pytest.mark.parametrize(
    "arm",
    [
        {"feedforward": "swiglu"},
        {"feedforward": "pagelu", "alpha": {"name": "learnable", "per": "channel"}},
        {"norm": "layernorm", "bias": True},
        {"feedforward": "moe"},
        {"attention": {"name": "sdpa", "output_gate": "element"}},
    ],
)
def test_whole_models_match_to_half_a_step(arm: dict[str, Any], by: Any) -> None:
    def total(config: ModelConfig) -> int:
        stated = cost(config)
        return stated.parameters if by == "params" else stated.flops_per_token

    matched = match_model(dataclasses.replace(BASE, **arm), BASE, by)
    step = total(dataclasses.replace(matched, hidden=matched.hidden + 8)) - total(matched)
    assert abs(total(matched) - total(BASE)) <= step / 2
    assert matched.hidden % 8 == 0


def test_matching_to_half_a_percent_at_the_pilots_size() -> None:
    """The α pilot's gated arms: hidden 344 beside a plain block of 512 at D = 128."""
    gelu = load_config(["model=small"]).model
    gated = match_model(load_config(["model=small", "model.feedforward=pagelu"]).model, gelu, "params")
    assert gated.hidden in (336, 344)
    assert abs(cost(gated).parameters / cost(gelu).parameters - 1) < 0.005


def test_a_reference_too_small_to_match() -> None:
    tiny = dataclasses.replace(BASE, n_layer=1, hidden=8)
    with pytest.raises(
        UserError, match="cannot match params: even with a feed-forward width of 8 the model costs more"
    ):
        match_model(BASE, tiny, "params")


def test_a_width_that_cannot_be_set() -> None:
    config = dataclasses.replace(BASE, feedforward={"name": "standard", "hidden": 40})
    with pytest.raises(UserError, match=r"cannot match params: model\.feedforward sets its width itself"):
        match_model(config, BASE, "params")


@pytest.mark.parametrize("target", [0, 1, 100, 999, 12_345])
@pytest.mark.parametrize("multiple_of", [1, 8])
def test_solve_width_finds_the_nearest(target: int, multiple_of: int) -> None:
    def cost_at(width: int) -> int:
        return 7 * width + 3

    found = solve_width(cost_at, target, multiple_of)
    best = min(range(multiple_of, 4000, multiple_of), key=lambda width: abs(cost_at(width) - target))
    assert abs(cost_at(found) - target) == abs(cost_at(best) - target)


def test_a_square_form_refuses_another_width() -> None:
    with pytest.raises(UserError, match=r"model.hidden=64: .* its width must be model.n_embd=128"):
        load_config(["model=small", "model.feedforward=paglu", "model.gate.form=skip", "model.hidden=64"])
