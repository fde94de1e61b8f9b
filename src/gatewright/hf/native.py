"""Which family of Hugging Face a model of ours is, judged by its parts, and that family's configuration of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import GPT2Config, LlamaConfig, PreTrainedConfig, Qwen3Config

from gatewright.errors import UserError
from gatewright.hf.families import Family
from gatewright.model.language_model import LanguageModel
from gatewright.parts.activations.gelu import GELU
from gatewright.parts.activations.gelu_tanh import TanhGELU
from gatewright.parts.activations.identity import Identity
from gatewright.parts.activations.mish import Mish
from gatewright.parts.activations.relu import ReLU
from gatewright.parts.activations.relu2 import SquaredReLU
from gatewright.parts.activations.sigmoid import Sigmoid
from gatewright.parts.activations.silu import SiLU
from gatewright.parts.activations.tanh import Tanh
from gatewright.parts.attention.flex import FlexAttention
from gatewright.parts.attention.manual import ManualAttention
from gatewright.parts.attention.sdpa import SDPAttention
from gatewright.parts.feedforward.gated import GatedFeedForward
from gatewright.parts.feedforward.standard import StandardFeedForward
from gatewright.parts.gates.glu import GLU
from gatewright.parts.norms.layernorm import LayerNorm
from gatewright.parts.norms.none import NoNorm
from gatewright.parts.norms.rmsnorm import RMSNorm
from gatewright.parts.positions.learned import Learned
from gatewright.parts.positions.rope import RoPE
from gatewright.parts.residuals.pre import PreNorm

ACTIVATIONS: dict[Any, str] = {
    GELU: "gelu",
    TanhGELU: "gelu_new",
    Identity: "linear",
    Mish: "mish",
    ReLU: "relu",
    SquaredReLU: "relu2",
    Sigmoid: "sigmoid",
    SiLU: "silu",
    Tanh: "tanh",
}
"""Our activations by their names in transformers; those with parameters are missing."""
_NAMES: dict[Any, str] = {
    **ACTIVATIONS,
    **dict.fromkeys((FlexAttention, ManualAttention, SDPAttention), "softmax"),
    GLU: "a GLU",
    Learned: "learned",
    NoNorm: "none",
    PreNorm: "pre",
    RMSNorm: "rmsnorm",
    RoPE: "rope",
    StandardFeedForward: "standard",
}
"""What parts are called here. A part that is missing goes by its label, and fits no family."""

_DEMANDS: dict[Family, dict[str, tuple[Any, ...]]] = {
    "gpt2": {
        "position": ("learned",),
        "norm": ("layernorm",),
        "norm_position": ("pre",),
        "feedforward": ("standard",),
        "activation": tuple(ACTIVATIONS.values()),
        "attention": ("softmax",),
        "attention.qk_norm": ("none",),
        "attention.window": (None,),
        "attention.output_gate": ("none",),
        "kv_heads": ("n_head",),
        "head_dim": ("n_embd / n_head",),
        "bias": (True,),
        "embedding_scale": (1.0,),
    },
    "llama": {
        "position": ("rope",),
        "position.fraction": (1.0,),
        "norm": ("rmsnorm",),
        "norm_position": ("pre",),
        "feedforward": ("a GLU",),
        "activation": tuple(ACTIVATIONS.values()),
        "attention": ("softmax",),
        "attention.qk_norm": ("none",),
        "attention.window": (None,),
        "attention.output_gate": ("none",),
        "embedding_scale": (1.0,),
    },
}
_DEMANDS["qwen3"] = {**_DEMANDS["llama"], "attention.qk_norm": ("rmsnorm",), "bias": (False,)}
"""The choices a family leaves no freedom in, by the keys of ``model``."""


def find_family(model: LanguageModel) -> Family:
    """The family that ``model`` is one of.

    Raises `UserError` that names the first choice which the nearest family does not have.
    """
    design = _design(model)
    near_qwen3 = design["attention.qk_norm"] == "rmsnorm"
    family: Family = "gpt2" if design["position"] == "learned" else "qwen3" if near_qwen3 else "llama"
    for key, wanted in _DEMANDS[family].items():
        if design[key] not in wanted:
            raise UserError(
                f"this model is none of transformers' own families: model.{key} is {design[key]}, where {family}, "
                f"the nearest, has {' or '.join(map(str, wanted))}"
            )
    return family


def native_config(model: LanguageModel, **values: Any) -> PreTrainedConfig:
    """The configuration of ``model`` in its family; ``values`` are transformers' own, such as ``eos_token_id``.

    Dropout is carried over where the family has it, and left out elsewhere: it is a matter of training alone. Raises
    `UserError` as `find_family` does.
    """
    family, design = find_family(model), _design(model)
    attention, embedding = model.blocks[0].attention, model.embedding
    shared = {
        "vocab_size": embedding.num_embeddings,
        "tie_word_embeddings": model.head is None,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
        **values,
    }
    if family == "gpt2":
        return GPT2Config(
            n_positions=model.block_size,
            n_embd=embedding.embedding_dim,
            n_layer=len(model.blocks),
            n_head=attention.n_head,
            n_inner=design["hidden"],
            activation_function=design["activation"],
            layer_norm_epsilon=design["norm.eps"],
            resid_pdrop=design["residual_dropout"],
            embd_pdrop=model.embedding_dropout.p,
            attn_pdrop=design["attention.dropout"],
            **shared,
        )
    llama = {
        "max_position_embeddings": model.block_size,
        "hidden_size": embedding.embedding_dim,
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": attention.n_head,
        "num_key_value_heads": attention.kv_heads,
        "head_dim": attention.head_dim,
        "intermediate_size": design["hidden"],
        "hidden_act": design["activation"],
        "rms_norm_eps": design["norm.eps"],
        "rope_parameters": {"rope_type": "default", "rope_theta": design["position.theta"]},
        "attention_bias": design["bias"],
        "attention_dropout": design["attention.dropout"],
        **shared,
    }
    return Qwen3Config(**llama) if family == "qwen3" else LlamaConfig(mlp_bias=design["bias"], **llama)


def _design(model: LanguageModel) -> dict[str, Any]:
    """What families differ in, read off the modules, by the keys of ``model``; `UserError` where layers differ."""
    blocks, attentions = list(model.blocks), [block.attention for block in model.blocks]
    residuals = [r for b in blocks for r in (b.attention_residual, b.feedforward_residual)]
    qk_norms = [norm for attention in attentions for norm in (attention.q_norm, attention.k_norm)]
    norms = [*(r.norm for r in residuals), *([model.norm] if model.norm is not None else [])]
    sized = [*norms, *(norm for norm in qk_norms if type(norm) is not NoNorm)]
    positions = [model.positions[i] for i in model.position_of_layer]
    feedforwards: list[Any] = [block.feedforward for block in blocks]
    first, width = attentions[0], model.embedding.embedding_dim
    values: dict[str, Iterable[Any]] = {
        "position": map(_name, positions),
        "position.fraction": (getattr(p, "rotated", 0) / first.head_dim for p in positions),
        "position.theta": (getattr(p, "theta", None) for p in positions),
        "norm": map(_name, norms),
        "norm_position": map(_name, residuals),
        "feedforward": map(_name, feedforwards),
        "activation": (_name(getattr(getattr(f, "gate", f), "activation", None)) for f in feedforwards),
        "hidden": (getattr(getattr(f, "up_proj", None), "out_features", None) for f in feedforwards),
        "attention": map(_name, attentions),
        "attention.qk_norm": map(_name, qk_norms),
        "attention.window": (a.window for a in attentions),
        "attention.output_gate": (a.output_gate for a in attentions),
        "attention.dropout": (a.dropout for a in attentions),
        "norm.eps": (getattr(norm, "eps", None) for norm in sized),
        "residual_dropout": (r.dropout.p for r in residuals),
        "bias": (a.q_proj.bias is not None for a in attentions),
        "kv_heads": ("n_head" if a.kv_heads == a.n_head else a.kv_heads for a in attentions),
        "head_dim": ("n_embd / n_head" if a.head_dim * a.n_head == width else a.head_dim for a in attentions),
        "embedding_scale": [model.embedding_scale],
    }
    return {key: _one(key, found) for key, found in values.items()}


def _one(key: str, found: Iterable[Any]) -> Any:
    distinct = list(dict.fromkeys(found))
    if len(distinct) > 1:
        words = " and ".join(map(str, distinct))
        raise UserError(f"this model is none of transformers' own families: model.{key} is {words} in one model")
    return distinct[0]


def _name(part: nn.Module | None) -> str:
    """What a part is called here. Subclasses may compute something else, so they are not what they derive from."""
    if type(part) is LayerNorm:
        return "layernorm" if part.bias is not None else "layernorm_nobias"
    if type(part) is GatedFeedForward:
        part = part.gate
        return _NAMES.get(type(part), part.label)
    return _NAMES.get(type(part), getattr(part, "label", None) or type(part).__name__)
