"""Models of transformers' own families: ours as theirs, theirs as ours."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf_file import write_gguf
from hf_designs import PRESETS, SIZE, VOCABULARY, disturbed, ids, logits, make
from safetensors.torch import load_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import gatewright as gw
from gatewright.errors import UserError
from gatewright.hf import from_hf, save, to_hf
from gatewright.model import LanguageModel

TOLERANCE = 1e-4
NATIVE = {
    "gpt2": ("GPT2LMHeadModel", PRESETS["gpt2"]),
    "llama": ("LlamaForCausalLM", PRESETS["llama"]),
    "llama3": ("LlamaForCausalLM", PRESETS["llama3"]),
    "qwen3": ("Qwen3ForCausalLM", PRESETS["qwen3"]),
    "gpt2, wider, untied": ("GPT2LMHeadModel", [*PRESETS["gpt2"], "model.hidden=72", "model.tie_weights=false"]),
    "gpt2 with another activation": ("GPT2LMHeadModel", [*PRESETS["gpt2"], "model.activation=relu2"]),
    "gpt2 put together by hand": (
        "GPT2LMHeadModel",
        [
            *("model=llama", *SIZE, "model.norm=layernorm", "model.feedforward=standard", "model.activation=gelu"),
            *("model.position=absolute", "model.bias=true", "model.attention=manual"),
        ],
    ),
    "llama, tied, biases, GeGLU": (
        "LlamaForCausalLM", [*PRESETS["llama"], "model.tie_weights=true", "model.bias=true", "model.feedforward=geglu"]
    ),
    "llama with other norms and wider heads": (
        "LlamaForCausalLM", [*PRESETS["llama"], "model.norm={name: rmsnorm, eps: 1e-3}", "model.head_dim=12"]
    ),
}  # fmt: skip


def built(name: str) -> LanguageModel:
    return disturbed(gw.build(gw.load_config(NATIVE[name][1]).model))


@pytest.mark.parametrize("name", NATIVE)
def test_a_native_folder_holds_the_same_model(name: str, tmp_path: Path) -> None:
    kind, _ = NATIVE[name]
    model = built(name)
    expected = logits(model, ids(2, 20))
    assert expected.std() > 0.1
    save(model, tmp_path / "native", native=True)
    native, info = AutoModelForCausalLM.from_pretrained(tmp_path / "native", output_loading_info=True)
    assert not any(info.values())
    assert type(native).__name__ == kind
    assert (logits(native, ids(2, 20)) - expected).abs().max() < TOLERANCE
    tied = model.config.tie_weights
    assert native.config.tie_word_embeddings is tied
    assert ("lm_head.weight" in load_file(tmp_path / "native" / "model.safetensors")) is not tied
    back = from_hf(tmp_path / "native")
    torch.testing.assert_close(logits(back, ids(2, 20)), expected, atol=1e-5, rtol=0)
    assert gw.architecture_name(back) == gw.architecture_name(model)
    assert gw.cost(back).parameters == gw.cost(model).parameters
    assert logits(from_hf(tmp_path / "native", dtype=torch.bfloat16), ids(2, 20)).dtype == torch.bfloat16


def test_transformers_without_gatewright_opens_it(tmp_path: Path) -> None:
    families = ("gpt2", "llama", "llama3", "qwen3")
    for name in families:
        model = built(name)
        torch.save((ids(2, 20), logits(model, ids(2, 20))), tmp_path / f"{name}.pt")
        save(model, tmp_path / name, native=True)
    program = f"""
import sys
sys.modules["gatewright"] = None  # cannot be imported
import torch
from transformers import AutoModelForCausalLM
for name in {families!r}:
    tokens, expected = torch.load(name + ".pt")
    with torch.no_grad():
        found = AutoModelForCausalLM.from_pretrained(name)(tokens).logits
    assert (found - expected).abs().max() < {TOLERANCE}, name
try:
    import gatewright
except ImportError:
    print("opened")
"""
    card = (tmp_path / "llama" / "README.md").read_text()
    program += card.split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "opened\n"), done.stderr


@pytest.mark.parametrize(
    ("preset", "override", "said"),
    [
        ("llama", "position=alibi", "position is ALiBi, where llama, the nearest, has rope"),
        (
            "llama",
            "position={name: rope, fraction: 0.5}",
            "position.fraction is 0.5, where llama, the nearest, has 1.0",
        ),
        ("llama", "position=[rope,none]", "position is rope and NoPos in one model"),
        ("llama", "feedforward=paglu", "feedforward is paGLU(α=0.5), where llama, the nearest, has a GLU"),
        ("llama", "feedforward=moe", "feedforward is MoE8x2-SiLU"),
        ("llama", "norm=layernorm", "norm is layernorm, where llama, the nearest, has rmsnorm"),
        ("llama", "attention.window=4", "attention.window is 4, where llama, the nearest, has None"),
        ("llama", "attention.output_gate=head", "attention.output_gate is head"),
        ("llama", "embedding_scale=sqrt_dim", "embedding_scale is 5.65"),
        ("qwen3", "bias=true", "bias is True, where qwen3, the nearest, has False"),
        ("gpt2", "norm_position=post", "norm_position is PostNorm, where gpt2, the nearest, has pre"),
        ("gpt2", "bias=false", "bias is False, where gpt2, the nearest, has True"),
        ("gpt2", "activation=xielu", "activation is xIELU, where gpt2"),
        ("gpt2", "kv_heads=2", "kv_heads is 2, where gpt2, the nearest, has n_head"),
        ("gpt2_postnorm", "bias=true", "norm is layernorm_nobias, where gpt2, the nearest, has layernorm"),
        ("team", "bias=false", "feedforward is standard, where llama, the nearest, has a GLU"),
    ],
)
def test_what_is_no_native_family_is_refused(preset: str, override: str, said: str, tmp_path: Path) -> None:
    model = gw.build(gw.load_config([f"model={preset}", *SIZE, f"model.{override}"]).model)
    with pytest.raises(UserError) as error:
        save(model, tmp_path / "native", native=True)
    assert f"none of transformers' own families: model.{said}" in str(error.value)
    assert not list(tmp_path.iterdir())


def theirs(kind: Any, config: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    model: PreTrainedModel = kind(deepcopy(config))  # a patch writes into its model's configuration
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


LLAMA = {
    "num_hidden_layers": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "vocab_size": VOCABULARY,
    "num_attention_heads": 4,
    "max_position_embeddings": 32,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
GPT2 = {
    "n_layer": 2,
    "n_embd": 32,
    "n_head": 4,
    "n_positions": 32,
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
ROPE = {"rope_type": "default", "rope_theta": 5e5}
FOREIGN = {
    "gpt2": (GPT2LMHeadModel, GPT2Config(**GPT2)),
    "gpt2, gelu_pytorch_tanh": (
        GPT2LMHeadModel, GPT2Config(**GPT2, activation_function="gelu_pytorch_tanh", n_inner=40)
    ),
    "llama, grouped": (
        LlamaForCausalLM, LlamaConfig(**LLAMA, num_key_value_heads=2, rope_parameters=ROPE, rms_norm_eps=1e-5)
    ),
    "llama, tied, biases": (
        LlamaForCausalLM, LlamaConfig(**LLAMA, tie_word_embeddings=True, attention_bias=True, mlp_bias=True)
    ),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config(**LLAMA, num_key_value_heads=1, head_dim=12, tie_word_embeddings=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_model_becomes_ours_and_foreign_again(name: str, tmp_path: Path) -> None:
    model = theirs(*FOREIGN[name])
    expected = logits(model, ids(2, 20))
    model.save_pretrained(tmp_path)
    for ours in (from_hf(model), from_hf(tmp_path), from_hf(str(tmp_path))):
        assert isinstance(ours, LanguageModel)
        assert not ours.training
        assert (logits(ours, ids(2, 20)) - expected).abs().max() < TOLERANCE
    again = to_hf(ours, native=True, bos_token_id=0, eos_token_id=0)
    torch.testing.assert_close(logits(again, ids(2, 20)), expected, atol=1e-5, rtol=0)
    asked, got = model.config.to_dict(), again.config.to_dict()
    differing = {key for key in asked if asked[key] != got[key]}
    assert differing <= {"dtype", "architectures", "_name_or_path", "n_inner", "activation_function"}
    with torch.no_grad():
        from_hf(model).embedding.weight.zero_()
    assert torch.equal(logits(model, ids(2, 20)), expected)  # its weights were copied


def test_a_scored_loss_and_a_generation_are_theirs() -> None:
    model = theirs(*FOREIGN["llama, grouped"])
    ours = from_hf(model)
    assert ours(ids(2, 20), labels=ids(2, 20)).loss.item() == pytest.approx(
        model(ids(2, 20), labels=ids(2, 20)).loss.item(), abs=1e-5
    )
    prompt = ids(1, 5)
    expected = model.generate(prompt, max_new_tokens=10, do_sample=False, eos_token_id=None, pad_token_id=0)[0, 5:]
    assert gw.generate(ours, prompt.tolist(), max_new_tokens=10) == [expected.tolist()]


def test_gguf(tmp_path: Path) -> None:
    settings = {**LLAMA, "rope_parameters": ROPE, "num_key_value_heads": 2, "rms_norm_eps": 1e-5}
    model = theirs(LlamaForCausalLM, LlamaConfig(**settings))
    write_gguf(model, tmp_path / "tiny.gguf")
    expected = logits(model, ids(2, 20))
    for ours in (from_hf(tmp_path / "tiny.gguf"), from_hf(tmp_path, gguf_file="tiny.gguf")):
        assert (logits(ours, ids(2, 20)) - expected).abs().max() < 1e-5
        assert ours.config.kv_heads == 2
    (tmp_path / "torn.gguf").write_bytes((tmp_path / "tiny.gguf").read_bytes()[:100])
    with pytest.raises(UserError, match=r"transformers cannot open it"):
        from_hf(tmp_path / "torn.gguf")


SCALED_ROPE = {**ROPE, "rope_type": "linear", "factor": 2.0}
SLIDING = {"use_sliding_window": True, "max_window_layers": 1}
LAYERS = "['full_attention', 'sliding_attention']"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (LlamaConfig(**LLAMA, rope_parameters=SCALED_ROPE), "this llama has rope_parameters={'factor': 2.0, "),
        (LlamaConfig(**LLAMA, attention_bias=True), "this llama has mlp_bias=False, which has no counterpart here"),
        (LlamaConfig(**LLAMA, hidden_act="silly"), "unknown hidden_act 'silly'; did you mean 'silu'"),
        (Qwen3Config(**LLAMA, num_key_value_heads=2, attention_bias=True), "this qwen3 has attention_bias=True, which"),
        (Qwen3Config(**LLAMA, num_key_value_heads=2, **SLIDING), f"this qwen3 has layer_types={LAYERS}, which has no"),
        (GPT2Config(**GPT2, scale_attn_by_inverse_layer_idx=True), "this gpt2 has scale_attn_by_inverse_layer_idx="),
        (GPT2Config(**GPT2, scale_attn_weights=False), "this gpt2 has scale_attn_weights=False"),
        (GPT2Config(**GPT2, activation_function="quick_gelu"), "unknown activation_function 'quick_gelu'"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.model_type,
)
def test_a_model_we_have_no_parts_for_is_refused_before_its_weights_are_read(
    config: Any, said: str, tmp_path: Path
) -> None:
    config.save_pretrained(tmp_path)
    with pytest.raises(UserError) as error:
        from_hf(tmp_path)
    assert said in str(error.value)


def test_other_things_that_cannot_be_opened(tmp_path: Path) -> None:
    tiny = {**LLAMA, "num_key_value_heads": 4}
    with pytest.raises(
        UserError, match=r"unknown family of Hugging Face models 'mistral' \(known: gpt2, llama, qwen3\)"
    ):
        from_hf(theirs(MistralForCausalLM, MistralConfig(**tiny)))
    with pytest.raises(UserError, match=r"source=\./nowhere: no such folder"):
        from_hf("./nowhere")
    with pytest.raises(UserError, match="gpt2-none: transformers cannot open it"):
        from_hf("gpt2-none", local_files_only=True, cache_dir=str(tmp_path))
    with pytest.raises(UserError, match="transformers cannot open it"):
        from_hf(tmp_path)
    patched = theirs(*FOREIGN["gpt2"])
    gw.patch(patched, alpha=0.5)
    with pytest.raises(UserError, match="this gpt2 has a gatewright_patch: only plain models can be taken over"):
        from_hf(patched)
    with pytest.raises(UserError, match="this model is none of transformers' own families"):
        to_hf(make("preserve, static"), native=True)
