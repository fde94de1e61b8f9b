"""Models with mixtures of experts: built to size, trained, cached."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from gatewright.config import load_config
from gatewright.config.model import ModelConfig
from gatewright.errors import UserError
from gatewright.model import LanguageModel, architecture_name, build, cost


def config(expert: Any = "swiglu", *, alpha: Any = None, hidden: int | None = 16, **knobs: Any) -> ModelConfig:
    return ModelConfig(
        n_layer=2,
        n_head=2,
        n_embd=32,
        block_size=24,
        vocab_size=40,
        norm="rmsnorm",
        activation=None,
        position="rope",
        attention="manual",
        feedforward={"name": "moe", "n_experts": 4, "expert": expert, **knobs},
        bias=False,
        hidden=hidden,
        multiple_of=4,
        alpha=alpha,
        init="fan_in",
        embedding_scale="sqrt_dim",
    )


def sequences(rows: int, tokens: int = 24, seed: int = 0) -> torch.Tensor:
    """Each token is the one before plus a step that the sequence keeps to: learnable in a few steps."""
    generator = torch.Generator().manual_seed(seed)
    start, step = (torch.randint(1, 5, (rows, 1), generator=generator) for _ in range(2))
    return (start + step * torch.arange(tokens)) % 40


def few_steps(model: LanguageModel, steps: int = 30) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for step in range(steps):
        ids = sequences(8, 24, seed=step)
        out = model.train()(ids, labels=ids)
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.cross_entropy.item())
    return losses


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize("capacity_factor", [None, 1.25])
def test_learns(capacity_factor: float | None) -> None:
    model = build(config("paglu", alpha="learnable_0.3", capacity_factor=capacity_factor))
    assert model.alphas() == pytest.approx({"0": 0.3, "1": 0.3})
    losses = few_steps(model)
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    moved = model.alphas()
    assert set(moved) == {"0", "1"}
    assert all(abs(alpha - 0.3) > 1e-3 for alpha in moved.values())
    reports = model.reports()
    assert {"0.expert_utilisation", "1.dropped_tokens"} <= set(reports)
    assert all(0 <= value <= 1 for value in reports.values())
    assert (reports["0.dropped_choices"] > 0) == (capacity_factor is not None)


def test_scheduled_alpha_reaches_the_experts() -> None:
    model = build(config("paglu", alpha="scheduler_cosine"))
    model.set_step(5, 10)
    assert model.alphas() == pytest.approx({"0": 0.5, "1": 0.5})


def test_balance_loss_is_part_of_the_training_loss_only() -> None:
    model = build(config(balance=0.5))
    ids = sequences(4)
    out = model.train()(ids, labels=ids)
    assert out.aux_loss >= 2 * 0.5 * 0.9  # two layers, each near its least, 0.5
    torch.testing.assert_close(out.loss, out.cross_entropy + out.aux_loss)
    out = model.eval()(ids, labels=ids)
    assert out.aux_loss is None
    assert out.loss == out.cross_entropy


@pytest.mark.parametrize("capacity_factor", [None, 0.5])
def test_no_token_sees_a_later_one(capacity_factor: float | None) -> None:
    model = build(config(capacity_factor=capacity_factor)).train()
    ids = sequences(4)
    changed = ids.clone()
    changed[:, 15:] = (changed[:, 15:] + 7) % 40
    before, after = model(ids).logits, model(changed).logits
    torch.testing.assert_close(before[:, :15], after[:, :15], rtol=0, atol=1e-5)
    assert not torch.allclose(before[:, 15:], after[:, 15:], atol=1e-2)


@torch.no_grad()
def test_cached_and_uncached_logits_agree() -> None:
    model = build(config(capacity_factor=0.5)).eval()
    ids = sequences(3)
    whole = model(ids).logits
    cache = model.new_cache()
    pieces = [model(part, cache=cache).logits for part in ids.split([10, 1, 1, 5, 1, 6], dim=1)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("capacity_factor", [None, 0.75])
def test_cost_of_the_model(capacity_factor: float | None) -> None:
    settings = config(capacity_factor=capacity_factor)
    model, expected = build(settings), cost(settings)
    with FlopCounterMode(display=False) as counter:
        model(sequences(1))
    assert counter.get_total_flops() == expected.total.flops
    assert expected.parameters == sum(p.numel() for p in model.parameters())
    idle = 2 * 2 * 3 * 32 * 16  # two of four experts in two layers
    assert expected.active_parameters == expected.parameters - idle


@pytest.mark.parametrize("match", ["params", "flops"])
def test_matched_to_the_plain_block(match: Literal["params", "flops"]) -> None:
    plain = dataclasses.replace(config(hidden=None), feedforward="standard")

    def size(settings: ModelConfig) -> int:
        total = cost(settings).components["feedforward"]
        return total.parameters if match == "params" else total.flops

    chosen = dataclasses.replace(config(hidden=None), match=match)
    width = build(chosen, device="meta").blocks[0].feedforward.experts[0].down_proj.in_features
    step = size(dataclasses.replace(chosen, hidden=width + 4)) - size(chosen)
    assert abs(size(chosen) - size(plain)) <= step / 2


def test_name_and_names() -> None:
    model = build(config())
    assert architecture_name(model) == "2L-2H-32D-RoPE-RMS-MoE4x2-SwiGLU-PreNorm"
    names = [name for name in model.state_dict() if name.startswith("blocks.1.feedforward.")]
    layers = ("up_proj", "gate_proj", "down_proj")
    assert names[:4] == [
        "blocks.1.feedforward.router.projection.weight",
        *(f"blocks.1.feedforward.experts.0.{layer}.weight" for layer in layers),
    ]


def test_an_expert_with_an_activation_of_its_own_settles_the_models() -> None:
    moe = ["model=small", "model.feedforward.name=moe"]
    assert load_config([*moe, "model.feedforward.expert=swiglu"]).model.activation == "silu"
    assert load_config([*moe, "model.feedforward.expert={name: paunit, activation: relu2}"]).model.activation == "relu2"
    assert load_config([*moe, "model.feedforward.expert=paunit"]).model.activation == "gelu"
    with pytest.raises(UserError, match=r"has the activation silu, but model\.activation=relu"):
        load_config([*moe, "model.feedforward.expert=swiglu", "model.activation=relu"])


def test_experts_start_apart_and_like_the_plain_blocks() -> None:
    block = build(config("standard", hidden=64)).blocks[0].feedforward
    weights = [expert.down_proj.weight for expert in block.experts]
    assert len({tuple(weight.flatten()[:3].tolist()) for weight in weights}) == 4
    plain = build(dataclasses.replace(config(), feedforward="standard", hidden=64)).blocks[0].feedforward
    for weight in weights:
        assert weight.std().item() == pytest.approx(plain.down_proj.weight.std().item(), rel=0.1)
