"""Tiny random models to generate paths with, and a rollout in which all sorts of things happen."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import gatewright as gw
from gatewright.hf import to_hf
from gatewright.paths import Rollout, generate

V = 40
PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8], [9]]
SIZES: dict[str, Any] = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
}


def _own(*overrides: str) -> nn.Module:
    sizes = ["model=small", "model.n_layer=2", "model.n_embd=32", "model.block_size=64", f"model.vocab_size={V}"]
    return gw.build(gw.load_config([*sizes, *overrides]).model, seed=3)


def _gpt2() -> nn.Module:
    ends = {"bos_token_id": None, "eos_token_id": None}
    return GPT2LMHeadModel(
        GPT2Config(vocab_size=V, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3, **ends)
    )


def _lora() -> nn.Module:
    model = get_peft_model(LlamaForCausalLM(LlamaConfig(**SIZES)), LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return model


KINDS = {
    "own": _own,
    "own, learned positions, scaled": lambda: _own("model.position=learned", "model.embedding_scale=sqrt_dim"),
    "own, as transformers sees it": lambda: to_hf(_own()),
    "gpt2": _gpt2,
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "gemma2, logits capped, sliding window": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SIZES, head_dim=8, final_logit_softcapping=3.0, sliding_window=8)
    ),
    "llama with LoRA": _lora,
}


@cache
def model_of(kind: str) -> nn.Module:
    """The same model each time; tests leave it as it is."""
    torch.manual_seed(0)
    return KINDS[kind]().eval()


def roll(kind: str = "llama", **changes: Any) -> Rollout:
    """Prompts of different lengths, paths that stop thinking and paths that end at different steps."""
    given: dict[str, Any] = {
        "prompts": PROMPTS,
        "paths": 4,
        "similarity": "jsd",
        "blend_weight": 0.3,
        "max_new_tokens": 20,
        "delimiter": [[3], [7, 8]],
        "end_ids": [5, 6, 11, 12],
        **changes,
    }
    model = given.pop("model", None) or model_of(kind)
    return generate(model, None, given.pop("prompts"), **given)
