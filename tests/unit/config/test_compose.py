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


def test_the_activation_of_blocks_that_differ() -> None:
    """A layer whose name settles its activation is no reason to refuse one for the layers that take it."""
    size = ("model.n_layer=2", "model.feedforward=[standard,swiglu]")
    assert load(*size).model.activation == "gelu_tanh"
    assert load(*size, "model.activation=relu").model.activation == "relu"
    assert load("model.n_layer=2", "model.feedforward=[glu,swiglu]").model.activation is None
    with pytest.raises(
        UserError, match=r"model\.feedforward=glu has the activation sigmoid, but model\.activation=silu"
    ):
        load("model.n_layer=2", "model.feedforward=[glu,swiglu]", "model.activation=silu")


@pytest.mark.parametrize(
    ("feedforward", "activation"),
    [
        ("{name: gated, gate: swiglu}", "silu"),
        ("{name: gated, gate: {name: paunit, activation: mish}}", "mish"),
        ("{name: paunit, activation: relu}", "relu"),
        ("{name: standard, activation: relu}", "relu"),
        ("{name: moe, expert: swiglu}", "silu"),
        ("moe", "gelu_tanh"),
        ("standard", "gelu_tanh"),
    ],
)
def test_the_activation_is_read_through_nested_specifications(feedforward: str, activation: str) -> None:
    assert load(f"model.feedforward={feedforward}", "model.hidden=64").model.activation == activation


def test_an_alias_of_the_blocks_own_activation_is_no_clash() -> None:
    assert load("model.feedforward=geglu", "model.activation=gelu_exact").model.activation == "gelu_exact"


@pytest.mark.parametrize(
    "override", ["model.activation=relu", "model={activation: relu}", "model.activation={name: swish, beta: 2.0}"]
)
def test_an_activation_asked_for_in_any_way_is_not_dropped(override: str) -> None:
    with pytest.raises(UserError, match="has the activation silu"):
        load("model.feedforward=swiglu", override)


def test_a_block_of_keys_is_the_same_as_its_keys() -> None:
    assert load("model={n_layer: 3, vocab_size: 99}") == load("model.n_layer=3", "model.vocab_size=99")
    assert load("model.gate={form: blend}", "model.feedforward=paglu").model.gate.form == "blend"


@pytest.mark.parametrize(
    ("overrides", "alpha"),
    [
        (["model.alpha=static_0.5"], "static_0.5"),
        (["model.alpha=0.25"], 0.25),
        (["model.alpha=learnable", "model.alpha.start=0.3"], {"name": "learnable", "start": 0.3}),
        (["model.alpha=scheduler_cosine", "model.alpha.end=0.5"], {"name": "scheduler_cosine", "end": 0.5}),
        (["model.alpha={name: learnable, per: channel}"], {"name": "learnable", "per": "channel"}),
        (["model.n_layer=2", "model.alpha=[0.2,learnable]"], [0.2, "learnable"]),
    ],
)
def test_ways_of_setting_alpha(overrides: list[str], alpha: object) -> None:
    config = load("model=small", "model.feedforward=pagelu", *overrides)
    assert config.model.alpha == alpha
    assert from_yaml(to_yaml(config)) == config


def test_a_later_override_wins_over_an_earlier_one() -> None:
    assert load("model.n_layer=2", "model.n_layer=3").model.n_layer == 3
    assert load("model=gpt2", "model=llama").model.norm == "rmsnorm"


def test_plus_and_quotes_of_the_grammar() -> None:
    assert load("+model.n_layer=2").model.n_layer == 2
    assert load("out='runs/a b'").out == "runs/a b"
    assert load("model.hidden=null").model.hidden is None
    assert load("train.learning_rate=1e-4").train.learning_rate == 1e-4
    assert load("train.learning_rate=1").train.learning_rate == 1.0


def test_what_is_loaded_is_what_is_written(tmp_path: Path) -> None:
    """config.yaml of a run, loaded again without overrides, is the same configuration, to the last key."""
    config = load(
        "model=qwen3", "model.feedforward=paglu", "model.alpha={name: scheduled, end: 0.7}", "model.gate.norm=after",
        "model.vocab_size=300", "train.optimizer=muon", "out=runs/x", "device=cpu",
    )  # fmt: skip
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    assert gw.load_config([], file) == from_yaml(to_yaml(config)) == config


def test_a_file_and_an_override_of_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(load("model=llama", "out=runs/first")))
    config = gw.load_config(["model.feedforward=geglu", "out=runs/second"], file)
    assert (config.model.activation, config.out) == ("gelu", "runs/second")
    with pytest.raises(UserError, match=r"out\.x: 'out' is one value \(runs/first\), it has no keys"):
        gw.load_config(["out.x=1"], file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[1, 2]", "expected a YAML mapping"),
        ("model: {n_layr: 3}", "did you mean 'model.n_layer'"),
        ("model: 3", "model=3: expected a block of keys"),
        ("model: {n_layer: two}", "model.n_layer='two': expected int, got str"),
        ("a: b: c", "cannot read configuration"),
        ("train: {batch_size: 0}", "train.batch_size=0: must be at least 1"),
    ],
)
def test_a_mistaken_file(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(content)
    with pytest.raises(UserError) as error:
        gw.load_config([], file)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read configuration .*nothing\.yaml"):
        gw.load_config([], tmp_path / "nothing.yaml")


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
        (["model=lama"], "unknown model preset 'lama'; did you mean 'llama'"),
        (["model.norm=rmsnrom"], "unknown norm 'rmsnrom'; did you mean 'rmsnorm'"),
        (["model.feedforward=swigloo"], "did you mean 'swiglu'"),
        (["model.head_dim=7", "model.position=rope"], "is not even and positive"),
        (["model.position={name: rope, fraction: 0.01}"], "is not even and positive"),
        (["model.kv_heads=24"], "model.kv_heads=24 does not divide model.n_head=12"),
        (["model.feedforward=paglu", "model.gate.form=skip", "model.hidden=64"], "its width must be model.n_embd=768"),
        (["model.feedforward=paglu", "model.alpha=1.5"], "α must be in [0, 1]"),
        (["model.expansion=nan"], "model.expansion=nan: must be a finite number"),
        (["train.learning_rate=inf"], "train.learning_rate=inf: must be a finite number"),
        (["model.attention={name: sdpa, dropout: 1.5}"], "attention.dropout=1.5: must be in [0, 1)"),
        (["model.norm_position={name: pre, dropout: -1.0}"], "norm_position.dropout=-1.0: must be in [0, 1)"),
        (["model.feedforward={name: standard, hidden: 0}"], "feedforward.hidden=0: must be at least 1"),
        (["model.feedforward={name: swiglu, hidden: -8}"], "feedforward.hidden=-8: must be at least 1"),
        (["model.norm={name: rmsnorm, eps: -1}"], "eps=-1.0: must be positive"),
        (["model.init={name: gpt2, std: 0}"], "std=0.0: must be positive"),
        (["model.activation={name: xielu, start: 0.4}"], "must be above 0 and beta=0.5"),
        (["model.n_layer.x=1"], "model.n_layer"),
        (["model@elsewhere=llama"], "a preset has one place; write model=NAME"),
        (["max_steps"], "expected key=value"),
        ([""], "expected key=value"),
        (["parallel=ddp"], "parallel='ddp': expected a block of keys"),
        (["resume=yes"], "resume"),
        (["train.batch_size=choice(1,2)"], "sweep"),
        (["train.batch_size=range(1,3)"], "sweep"),
    ],
)
def test_mistakes_are_named(overrides: list[str], said: str) -> None:
    with pytest.raises(UserError) as error:
        gw.load_config(overrides)
    assert said in str(error.value)
    assert "\n" not in str(error.value)
