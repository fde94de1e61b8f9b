"""Our configuration of a model from one of Hugging Face's families."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from transformers import PreTrainedConfig

from gatewright.config.model import ModelConfig
from gatewright.errors import UserError, unknown
from gatewright.hf.families import FAMILIES
from gatewright.hf.native import native_config
from gatewright.model.build import build, effective_activation

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "mish": "mish",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}
_GATED = {
    "silu": "swiglu",
    "swish": "swiglu",
    "gelu": "geglu",
    "relu": "reglu",
    "sigmoid": "glu",
    "linear": "bilinear",
}
_SPELLINGS = {"gelu_pytorch_tanh": "gelu_new", "swish": "silu"}
"""Two names of one activation."""

_NO_MATTER = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "use_cache", "initializer_range"),
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    *("pretraining_tp", "max_window_layers", "reorder_and_upcast_attn", "n_inner"),
}
"""Keys that do not change what a model of these families computes: tokens, other heads, order of operations.

``n_inner`` may be null and then stands for a number; ``max_window_layers`` has done its work in ``layer_types``.
"""


def model_config(config: PreTrainedConfig) -> ModelConfig:
    """Our configuration of the model that ``config`` describes, a GPT-2, LLaMA or Qwen3.

    Raises `UserError` for another family and for the first key whose value we have no parts for, such as a scaled RoPE.
    """
    if config.model_type not in FAMILIES:
        raise unknown("family of Hugging Face models", config.model_type, FAMILIES)
    for key in ("gatewright_patch", "quantization_config"):
        if getattr(config, key, None) is not None:
            raise UserError(f"this {config.model_type} has a {key}: only plain models can be taken over")
    ours = _CONVERT[config.model_type](config)
    ours.activation = effective_activation(ours)
    theirs = native_config(build(ours, device="meta"))
    wanted, got = config.to_dict(), theirs.to_dict()
    declared = {field.name for field in fields(config)} - {field.name for field in fields(PreTrainedConfig)}
    for key in sorted(declared - _NO_MATTER):
        if not _same(wanted.get(key), got.get(key)):
            raise UserError(f"this {config.model_type} has {key}={wanted.get(key)!r}, which has no counterpart here")
    return ours


def _gpt2(config: Any) -> ModelConfig:
    return ModelConfig(
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_embd=config.n_embd,
        block_size=config.n_positions,
        vocab_size=config.vocab_size,
        norm={"name": "layernorm", "eps": config.layer_norm_epsilon},
        activation=_known("activation_function", config.activation_function, _ACTIVATIONS),
        position="learned",
        feedforward="standard",
        hidden=config.n_inner or 4 * config.n_embd,
        bias=True,
        tie_weights=config.tie_word_embeddings,
        attention_dropout=config.attn_pdrop,
        residual_dropout=config.resid_pdrop,
        embedding_dropout=config.embd_pdrop,
    )


def _llama(config: Any) -> ModelConfig:
    return ModelConfig(
        n_layer=config.num_hidden_layers,
        n_head=config.num_attention_heads,
        kv_heads=config.num_key_value_heads,
        head_dim=config.head_dim,
        n_embd=config.hidden_size,
        block_size=config.max_position_embeddings,
        vocab_size=config.vocab_size,
        norm=(norm := {"name": "rmsnorm", "eps": config.rms_norm_eps}),
        activation=None,
        position={"name": "rope", "theta": float(config.rope_parameters["rope_theta"])},
        attention={"name": "sdpa", "qk_norm": norm} if config.model_type == "qwen3" else "sdpa",
        feedforward=_known("hidden_act", config.hidden_act, _GATED),
        hidden=config.intermediate_size,
        bias=config.attention_bias and config.model_type == "llama",  # a Qwen3 may have it in attention alone
        tie_weights=config.tie_word_embeddings,
        attention_dropout=config.attention_dropout,
    )


_CONVERT: dict[str, Callable[[Any], ModelConfig]] = {"gpt2": _gpt2, "llama": _llama, "qwen3": _llama}


def _known(key: str, name: str, names: dict[str, str]) -> str:
    if name not in names:
        raise unknown(key, name, names)
    return names[name]


def _same(one: Any, other: Any) -> bool:
    return _SPELLINGS.get(one, one) == _SPELLINGS.get(other, other) if isinstance(one, str) else bool(one == other)
