"""Whole models keep the contract: every preset, and a small model with every registered part in it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from registered import PARTS, cases_in_models, name_of
from torch.utils.flop_counter import FlopCounterMode

from gatewright.config import ModelConfig, list_presets, load_config
from gatewright.contract import MODEL, SMALL_MODEL, Line, ModelCase, lines, model_cases
from gatewright.model import build, cost
from gatewright.registry import Entry

PRESETS = [name for name in list_presets("model") if name != "default"]
SMALL = {"n_layer": 2, "n_head": 4, "n_embd": 64, "block_size": 32, "vocab_size": 97}


def preset(name: str) -> ModelConfig:
    return load_config([f"model={name}"]).model


def small_preset(name: str) -> ModelCase:
    """The preset with its parts at a size for tests; grouped queries stay grouped."""
    config = preset(name)
    return ModelCase(name, dataclasses.replace(config, **SMALL, kv_heads=2 if config.kv_heads else None))


@pytest.mark.parametrize("line", lines(MODEL), ids=lambda line: line.name)
@pytest.mark.parametrize("name", PRESETS)
def test_preset(line: Line, name: str) -> None:
    line(small_preset(name))


@pytest.mark.parametrize("entry", [entry for entry in PARTS if cases_in_models(entry)], ids=name_of)
def test_part_in_a_model(entry: Entry) -> None:
    wanted = {str(case) for case in cases_in_models(entry)}
    tried = [case for case in model_cases(entry) if case.name in wanted]
    assert tried
    for case in tried:
        for line in lines(MODEL):
            line(case)


@pytest.mark.parametrize("name", PRESETS)
def test_full_size_cost_is_what_the_flop_counter_counts(name: str) -> None:
    """At the preset's real size, on the meta device: nothing is allocated."""
    config = preset(name)
    model = build(config, device="meta")
    stated = cost(config)
    assert stated.parameters == sum(p.numel() for p in model.parameters())
    ids = torch.zeros(1, config.block_size, dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(ids)
    assert stated.total.flops == counter.get_total_flops()


def test_gpt2_has_the_parameters_and_flops_of_gpt2() -> None:
    """124,439,808 parameters (Radford et al., 2019); 6N + 12·L·T·d FLOPs a token, N without the position table."""
    stated = cost(preset("gpt2"))
    assert stated.parameters == 124_439_808
    matrices = 12 * 12 * 768**2 + 50257 * 768  # 12 d² a layer in six matrices, and the tied head
    assert stated.flops_per_token == 6 * matrices + 12 * 12 * 1024 * 768
    assert stated.flops_per_token == pytest.approx(0.8544e9, rel=1e-4)


def test_llama_costs_what_gpt2_costs() -> None:
    """SwiGLU at 8/3 has exactly the products of the 4× block."""
    gpt2, llama = cost(preset("gpt2")), cost(preset("llama"))
    assert llama.flops_per_token == gpt2.flops_per_token
    ffn = llama.breakdown["feedforward"]["parameters"]
    assert ffn == 12 * 4_718_592 == 12 * 3 * 768 * 2048


def test_kv_cache_bytes_count_key_value_heads_only() -> None:
    assert cost(preset("gpt2")).kv_cache_bytes_per_token() == 12 * 2 * 768 * 2
    assert cost(preset("llama3")).kv_cache_bytes_per_token() == 12 * 2 * 256 * 2


def test_cost_at_another_length() -> None:
    """Attention's products grow with the square of the length, all else in proportion."""
    short, long = cost(SMALL_MODEL, tokens=8).total.flops, cost(SMALL_MODEL, tokens=16).total.flops
    assert long - 2 * short == 2 * 4 * (16**2 - 2 * 8**2) * 64


@pytest.mark.parametrize(
    "change", [{"feedforward": "swiglu"}, {"position": "alibi"}, {"norm": "layernorm"}, {"n_layer": 3}]
)
def test_arms_start_alike_where_names_and_shapes_agree(change: dict[str, object]) -> None:
    ours = build(SMALL_MODEL, seed=4).state_dict()
    theirs = build(dataclasses.replace(SMALL_MODEL, **change), seed=4).state_dict()
    shared = [name for name in ours if name in theirs and ours[name].shape == theirs[name].shape]
    depth_scaled = {"o_proj", "down_proj"} if "n_layer" in change else set()
    compared = [name for name in shared if name.split(".")[-2] not in depth_scaled]
    assert len(compared) >= 10
    assert all(torch.equal(ours[name], theirs[name]) for name in compared)


def test_layers_do_not_start_alike() -> None:
    state = build(SMALL_MODEL).state_dict()
    assert not torch.equal(state["blocks.0.attention.q_proj.weight"], state["blocks.1.attention.q_proj.weight"])


def test_one_alpha_for_the_whole_model() -> None:
    config = dataclasses.replace(SMALL_MODEL, feedforward="pagelu", alpha={"name": "learnable", "per": "model"})
    case = ModelCase("one α", config)
    model = build(config)
    assert model.blocks[0].feedforward.gate.alpha is model.blocks[1].feedforward.gate.alpha
    for line in lines(MODEL):
        line(case)
