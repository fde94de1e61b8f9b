"""Presets and overrides: what is asked for is what is built, and what cannot be asked for is said."""

from __future__ import annotations

from pathlib import Path

import pytest

import gatewright as gw
from gatewright.config import from_yaml, list_presets, to_yaml
from gatewright.errors import UserError


def load(*overrides: str) -> gw.Config:
    return gw.load_config(list(overrides))


def test_gpt2_is_gpt2_small() -> None:
    model = load("model=gpt2").model
    assert (model.n_layer, model.n_head, model.n_embd) == (12, 12, 768)
    assert (model.vocab_size, model.block_size) == (50257, 1024)
    assert (model.norm, model.activation, model.position) == ("layernorm", "gelu_tanh", "learned")
    assert (model.norm_position, model.bias, model.tie_weights) == ("pre", True, True)


@pytest.mark.parametrize("preset", list_presets("model"))
def test_every_preset_survives_being_written_and_read(preset: str) -> None:
    config = load(f"model={preset}")
    assert from_yaml(to_yaml(config)) == config


@pytest.mark.parametrize(
    "preset", ["gpt2", "gpt2_postnorm", "llama", "llama3", "qwen3", "team", "hybrid", "custom", "legacy"]
)
def test_the_presets_others_call_exist(preset: str) -> None:
    assert preset in list_presets("model")


@pytest.mark.parametrize("order", [("model=llama", "model.position=alibi"), ("model.position=alibi", "model=llama")])
def test_an_override_wins_over_a_preset_wherever_it_stands(order: tuple[str, str]) -> None:
    assert load(*order).model.position == "alibi"


def test_a_knob_reaches_a_part_given_by_name_or_by_mapping() -> None:
    given_by_mapping = load("model=llama", "model.position.theta=5e5").model.position
    given_by_name = load("model=gpt2", "model.position=rope", "model.position.theta=5e5").model.position
    assert given_by_mapping == given_by_name == {"name": "rope", "theta": 5e5}


def test_a_knob_reaches_a_part_that_no_preset_names() -> None:
    assert load("model=gpt2", "model.attention.window=64").model.attention == {"name": "sdpa", "window": 64}


def test_replacing_a_part_drops_the_knobs_of_the_old_one() -> None:
    assert load("model=llama3", "model.position=rope").model.position == "rope"


def test_choosing_the_vocabulary_takes_it_from_the_tokenizer() -> None:
    assert load("model=gpt2").data.vocabulary == "tokenizer"
    assert load("model=gpt2", "model.vocab_size=50304").data.vocabulary == "model"


def test_the_recorded_activation_is_the_one_in_use() -> None:
    assert load("model=gpt2", "model.feedforward=swiglu").model.activation == "silu"
    assert load("model=gpt2", "model.feedforward=paunit").model.activation == "gelu_tanh"
    with pytest.raises(UserError, match=r"feedforward=swiglu .* silu.*relu"):
        load("model.feedforward=swiglu", "model.activation=relu")


@pytest.mark.parametrize("where", ["model.alpha=0.5", "model.gate.form=preserve", "model.gate.norm=before"])
@pytest.mark.parametrize("block", ["standard", "swiglu"])
def test_what_an_ungated_block_would_ignore_is_an_error(where: str, block: str) -> None:
    with pytest.raises(UserError, match="is set"):
        load(f"model.feedforward={block}", where)


def test_a_file_takes_the_place_of_the_presets(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(load("model=llama", "model.n_layer=2", "train.seed=9")))
    config = gw.load_config(["train.max_steps=5"], file)
    assert (config.model.n_layer, config.model.norm, config.train.seed, config.train.max_steps) == (2, "rmsnorm", 9, 5)
    assert gw.load_config(["model=gpt2"], file).model.norm == "layernorm"


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.n_layr=3"], "did you mean 'model.n_layer'"),
        (["trian.max_steps=3"], "did you mean 'train'"),
        (["model.n_layer=2.5"], "model.n_layer=2.5: expected int"),
        (["model.bias=1"], "model.bias=1: expected bool"),
        (["train.precision=bf61"], "did you mean 'bf16'"),
        (["model.position=[rope,none]"], "model.position has 2 entries for model.n_layer=12"),
        (["model.alpha=[0.1,0.2]", "model.feedforward=paglu"], "model.alpha has 2 entries"),
        (["model.n_head=7"], "does not divide"),
        (["model.kv_heads=5"], "does not divide"),
        (["model.position=rope", "model.n_embd=60", "model.n_head=4"], "even"),
        (["model.dropout=1.0"], "must be in [0, 1)"),
        (["model.n_layer=0"], "must be at least 1"),
        (["train.warmup_steps=11", "train.max_steps=10"], "between 0 and train.max_steps=10"),
        (["data=files"], "needs data.path"),
        (["train.seed=1,2"], "sweep"),
        (["~train"], "cannot be removed"),
        (["model.position={name: rope, thta: 3}"], "did you mean"),
        (["model.feedforward={name: swiglu, activation: relu}"], "fixes activation=silu"),
        (["model.norm={eps: 1e-5}"], "a mapping with 'name'"),
    ],
)
def test_mistakes_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        gw.load_config(overrides)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
