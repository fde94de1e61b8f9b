"""Our models as Hugging Face models: saved, opened, the same bits."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from hf_designs import DESIGNS, PARTS, SIZE, disturbed, ids, logits, make
from safetensors.torch import load_file, save_file, save_model
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

import gatewright as gw
from gatewright import plugins, registry
from gatewright.errors import UserError
from gatewright.hf import GatewrightConfig, GatewrightForCausalLM, from_hf, save, to_hf
from gatewright.hf.description import describe
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.attention.manual import ManualAttention
from gatewright.parts.attention.sdpa import SDPAttention


def opened(folder: Path, **options: object) -> GatewrightForCausalLM:
    """The model in ``folder``; nothing may be missing from it or left over."""
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True, **options)
    assert not any(info.values()), info
    assert type(model) is GatewrightForCausalLM
    return model


@pytest.mark.parametrize("design", DESIGNS)
def test_a_saved_model_opens_as_what_it_was(design: str, tmp_path: Path) -> None:
    model = make(design)
    expected = logits(model, ids(2, 20))
    assert expected.std() > 0.1
    save(model, tmp_path / "saved")
    again = opened(tmp_path / "saved")
    assert torch.equal(logits(again, ids(2, 20)), expected)
    assert not again.training
    ours = from_hf(again)
    assert torch.equal(logits(ours, ids(2, 20)), expected)
    assert {name: t.dtype for name, t in ours.state_dict().items()} == {
        name: t.dtype for name, t in model.state_dict().items()
    }
    for name, buffer in ours.named_buffers():  # those that are not saved among them
        assert torch.equal(buffer.isnan(), dict(model.named_buffers())[name].isnan()), name
        assert torch.equal(buffer.nan_to_num(), dict(model.named_buffers())[name].nan_to_num()), name
    again.save_pretrained(tmp_path / "again")
    assert torch.equal(logits(from_hf(tmp_path / "again"), ids(2, 20)), expected)


@pytest.mark.parametrize("design", ["gpt2", "llama", *PARTS])
def test_weights_named_as_in_checkpoints_open_too(design: str, tmp_path: Path) -> None:
    model = make(design)
    save_model(model, str(tmp_path / "model.safetensors"), metadata={"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(describe(model.config)))
    again = opened(tmp_path)
    assert torch.equal(logits(again, ids(2, 20)), logits(model, ids(2, 20)))
    assert from_hf(again).config == again.config.model_config() == model.config


@pytest.mark.parametrize(
    "design", ["llama", "paglu, learnable by channel", "one α for all layers", "scheduled", "experts"]
)
def test_bfloat16(design: str, tmp_path: Path) -> None:
    model = make(design)
    save(model, tmp_path / "saved")
    again = opened(tmp_path / "saved", dtype=torch.bfloat16)
    narrow = copy.deepcopy(model).to(torch.bfloat16)
    exact = dict(model.named_modules())
    for name, module in narrow.named_modules():
        if isinstance(module, Alpha):  # stays what it was, to the last bit
            module.load_state_dict(exact[name].state_dict(), assign=True)
    assert again.dtype == torch.bfloat16
    assert torch.equal(logits(again, ids(2, 20)), logits(narrow, ids(2, 20)))
    assert again.model.alphas() == model.alphas()
    assert again(ids(2, 20), labels=ids(2, 20)).loss.dtype == torch.float32


def test_tied_weights_are_one_tensor(tmp_path: Path) -> None:
    for design, tied in (("gpt2", True), ("llama", False)):
        save(make(design), tmp_path / design)
        names = set(load_file(tmp_path / design / "model.safetensors"))
        assert "model.embedding.weight" in names
        assert ("head.weight" in names) is not tied
        again = opened(tmp_path / design)
        assert again.config.tie_word_embeddings is tied
        assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) is tied
        assert again.num_parameters() == gw.cost(from_hf(again)).parameters


def test_one_alpha_stays_one_parameter(tmp_path: Path) -> None:
    for design in ("one α for all layers", "gated experts with one α"):
        save(make(design), tmp_path / design)
        stored = [name for name in load_file(tmp_path / design / "model.safetensors") if name.endswith("alpha.raw")]
        assert len(stored) == 1
        again = opened(tmp_path / design)
        alphas = {id(module) for module in again.modules() if isinstance(module, Alpha)}
        raw = {id(p) for name, p in again.named_parameters(remove_duplicate=False) if name.endswith("alpha.raw")}
        assert len(alphas) == len(raw) == 1


def test_nothing_waits_on_the_meta_device(tmp_path: Path) -> None:
    save(make("experts"), tmp_path / "saved")
    for options in ({"device_map": "cpu"}, {"device_map": {"": "cpu"}, "dtype": "auto"}, {"low_cpu_mem_usage": True}):
        again = opened(tmp_path / "saved", **options)
        assert {t.device.type for t in (*again.parameters(), *again.buffers())} == {"cpu"}
        assert torch.equal(logits(again, ids(2, 20)), logits(make("experts"), ids(2, 20)))
        assert not any(int(buffer.abs().sum()) for name, buffer in again.named_buffers() if name.endswith("load"))


def test_a_new_model_starts_as_its_initialisation_says() -> None:
    config = GatewrightConfig.of(
        gw.load_config(["model=small", *SIZE, "model.feedforward=paglu", "model.alpha=0.3"]).model
    )
    torch.manual_seed(0)
    first = AutoModelForCausalLM.from_config(config)
    torch.manual_seed(0)
    again, other = AutoModelForCausalLM.from_config(config), AutoModelForCausalLM.from_config(config)
    assert torch.equal(first.model.embedding.weight, again.model.embedding.weight)
    assert not torch.equal(first.model.embedding.weight, other.model.embedding.weight)
    assert list(first.model.alphas().values()) == pytest.approx([0.3, 0.3])
    rule = first.model.init
    for module in first.modules():
        if type(module) is nn.Linear:
            std = rule.linear_std(module, getattr(module, "is_residual_output", False))
            assert module.weight.std().item() == pytest.approx(std, rel=0.1)


def test_what_a_checkpoint_lacks_is_initialised_and_reported(tmp_path: Path) -> None:
    save(make("one α for all layers"), tmp_path / "saved")
    file = tmp_path / "saved" / "model.safetensors"
    lost = "model.blocks.1.feedforward.up_proj.weight"
    save_file({name: t for name, t in load_file(file).items() if name != lost}, file, metadata={"format": "pt"})
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", output_loading_info=True)
    assert info["missing_keys"] == {lost}
    assert model.get_parameter(lost).std().item() == pytest.approx(0.02, rel=0.1)
    whole = make("one α for all layers")
    assert torch.equal(model.model.norm.weight, whole.norm.weight)
    assert model.model.alphas() == whole.alphas()


def test_to_hf_shares_the_weights() -> None:
    for design in ("qwen3", "one α for all layers", "experts"):
        model = make(design)
        wrapped = to_hf(model, eos_token_id=7)
        assert torch.equal(logits(wrapped, ids(2, 20)), logits(model, ids(2, 20)))
        assert wrapped.config.eos_token_id == wrapped.generation_config.eos_token_id == 7
        assert {id(p) for p in wrapped.parameters()} == {id(p) for p in model.parameters()}
        assert {id(p) for p in from_hf(wrapped).parameters()} == {id(p) for p in model.parameters()}
    assert to_hf(make("gpt2").train()).training


@torch.no_grad()
def test_hidden_states_and_the_trunk_alone(tmp_path: Path) -> None:
    for design in ("gpt2", "alibi, post-norm"):
        model = make(design)
        save(model, tmp_path / design)
        trunk = AutoModel.from_pretrained(tmp_path / design)
        found = trunk(ids(2, 9), output_hidden_states=True)
        by_hand = found.last_hidden_state @ model.embedding.weight.T
        torch.testing.assert_close(by_hand, logits(model, ids(2, 9)), rtol=1e-5, atol=1e-5)
        assert len(found.hidden_states) == 3
        assert torch.equal(found.hidden_states[-1], found.last_hidden_state)
        whole = to_hf(model)(ids(2, 9), output_hidden_states=True)
        assert all(map(torch.equal, whole.hidden_states, found.hidden_states))


def test_the_configuration_answers_to_both_names() -> None:
    config = to_hf(make("qwen3")).config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (32, 2, 4)
    assert (config.num_key_value_heads, config.max_position_embeddings, config.vocab_size) == (2, 32, 101)
    assert GatewrightConfig(hidden_size=64, n_head=2).model_config().n_embd == 64
    assert GatewrightConfig(n_head=2).num_key_value_heads == 2
    assert AutoConfig.for_model("gatewright", block_size=9).max_position_embeddings == 9
    with pytest.raises(
        UserError, match="unknown key 'n_layers' in the configuration of a gatewright model; did you mean"
    ):
        GatewrightConfig(n_layers=3)
    with pytest.raises(UserError, match=r"gatewright\.n_layer='3': expected int, got str"):
        GatewrightConfig(n_layer="3")
    with pytest.raises(UserError, match="unknown position 'rop'; did you mean 'rope'"):
        AutoModelForCausalLM.from_config(GatewrightConfig(position="rop"))


def test_the_kernel_is_the_configurations_choice(tmp_path: Path) -> None:
    def kernel(design: str, asked: str | None) -> tuple[str, str]:
        config = to_hf(make(design)).config
        config._attn_implementation = asked
        model = AutoModelForCausalLM.from_config(config)
        return type(model.model.blocks[0].attention).__name__, model.config._attn_implementation

    assert kernel("gpt2", None) == ("SDPAttention", "sdpa")
    assert kernel("gpt2", "eager") == ("ManualAttention", "eager")
    assert kernel("small", None) == ("ManualAttention", "eager")
    save(make("gpt2"), tmp_path / "saved")
    eager, fused = (opened(tmp_path / "saved", attn_implementation=name) for name in ("eager", "sdpa"))
    assert type(eager.model.blocks[0].attention) is ManualAttention
    assert type(fused.model.blocks[0].attention) is SDPAttention
    torch.testing.assert_close(logits(eager, ids(2, 9)), logits(fused, ids(2, 9)), atol=1e-5, rtol=0)
    eager.save_pretrained(tmp_path / "again")
    assert opened(tmp_path / "again").config.attention == "sdpa"
    with pytest.raises(ValueError, match="does not support an attention implementation through torch"):
        kernel("small", "sdpa")


def test_a_larger_vocabulary(tmp_path: Path) -> None:
    for design in ("gpt2", "llama"):
        model = to_hf(make(design))
        expected = logits(model, ids(2, 9))
        model.resize_token_embeddings(120, mean_resizing=False)
        assert logits(model, ids(2, 9)).shape[-1] == 120
        torch.testing.assert_close(logits(model, ids(2, 9))[..., :101], expected, atol=1e-5, rtol=1e-5)
        model.save_pretrained(tmp_path / design)
        assert torch.equal(logits(opened(tmp_path / design), ids(2, 9)), logits(model, ids(2, 9)))
        assert from_hf(model).config.vocab_size == 120


PLUGIN = """
import torch
from torch import nn

from gatewright import register
from gatewright.parts.gates.base import Gate

@register("gate", "{name}")
class Halved(Gate):
    '''Multiplies by a number that is learned, and counts its calls.'''

    label = "Halved"

    def __init__(self, dims):
        super().__init__(dims)
        self.factor = nn.Parameter(torch.empty(()))
        self.register_buffer("calls", torch.zeros((), dtype=torch.long), persistent=False)
        self.reset()

    def reset(self):
        with torch.no_grad():
            self.factor.fill_({factor})  # not by torch.nn.init, which transformers could keep from what is loaded
            self.calls.zero_()

    def forward(self, value, gate, x):
        self.calls.add_(1)
        return self.factor * value * gate
"""


@pytest.fixture
def scratch_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it, and so is which files were loaded."""
    registry.entries("norm")  # everything of the package is there before the copy is made
    monkeypatch.setattr(registry, "_entries", copy.deepcopy(registry._entries))
    monkeypatch.setattr(registry, "_aliases", copy.deepcopy(registry._aliases))
    monkeypatch.setattr(plugins, "_loaded", {})


@pytest.mark.usefixtures("scratch_registry")
def test_parts_from_a_file_must_be_loaded_first(tmp_path: Path) -> None:
    file = tmp_path / "halved.py"
    file.write_text(PLUGIN.format(name="halved", factor=0.5))
    config = gw.load_config(["model=gpt2", *SIZE, f"plugins=[{file}]", "model.feedforward=halved"])
    model = disturbed(gw.build(config.model))
    to_hf(model, plugins=config.plugins).save_pretrained(tmp_path / "saved")
    described = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert described["plugins"] == {"halved.py": config.plugins[str(file)]}
    again = opened(tmp_path / "saved")
    assert not any(int(buffer) for name, buffer in again.named_buffers() if name.endswith("calls"))
    assert torch.equal(logits(again, ids(2, 9)), logits(model, ids(2, 9)))
    file.write_text(PLUGIN.format(name="halved", factor=0.25))
    plugins.load_plugins([str(file)])
    with pytest.raises(UserError, match=r"halved.py has changed"):
        AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
