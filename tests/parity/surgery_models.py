"""Tiny random models of every family that surgery knows, with inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from gatewright.errors import UserError

VOCABULARY = 99
TOKENS = 10

_DECODER = {
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "hidden_size": 16,
    "intermediate_size": 24,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_ENCODER = {k: v for k, v in _DECODER.items() if k not in ("num_key_value_heads", "head_dim")}
_T5 = {
    "num_layers": 2,
    "num_heads": 2,
    "d_model": 16,
    "d_kv": 8,
    "d_ff": 24,
    "vocab_size": VOCABULARY,
    "decoder_start_token_id": 0,
}


@dataclass(frozen=True)
class Subject:
    """A family's configuration, the class to build from it, and what there is in it."""

    family: str
    kind: str
    config: str
    settings: dict[str, Any]
    blocks: int = 2
    gated: bool = False
    vision: bool = False
    encoder_decoder: bool = False

    @property
    def generates(self) -> bool:
        return not self.vision and self.family != "bert"

    def build(self, dtype: torch.dtype = torch.float32, **settings: Any) -> PreTrainedModel:
        """A model in evaluation mode whose weights are wide enough for a change to show."""
        config = getattr(transformers, self.config)(**self.settings | settings)
        model: PreTrainedModel = getattr(transformers, self.kind)._from_config(config, dtype=dtype)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(
                    torch.randn(parameter.shape, generator=generator) * (0.3 if parameter.ndim > 1 else 0.5)
                )
        return model.eval()

    def inputs(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(1)
        if self.vision:
            return {"pixel_values": torch.randn(2, 3, 8, 8, generator=generator).to(dtype)}
        ids = torch.randint(3, VOCABULARY, (2, TOKENS), generator=generator)
        return {"input_ids": ids, "decoder_input_ids": ids} if self.encoder_decoder else {"input_ids": ids}


_GPT2 = {"n_layer": 2, "n_head": 2, "n_embd": 16, "n_positions": 64, "vocab_size": VOCABULARY}
_NEOX = {**_ENCODER, "hidden_dropout": 0.1, "attention_dropout": 0.1}
_BART = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 64,
    "activation_dropout": 0.1,
}
_VIT = {k: _ENCODER[k] for k in ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")}
_VIT |= {"image_size": 8, "patch_size": 4, "num_labels": 5, "hidden_dropout_prob": 0.1}
_IDS = {"bos_token_id": 1, "eos_token_id": 2}

SUBJECTS = {
    "gpt2": Subject("gpt2", "GPT2LMHeadModel", "GPT2Config", {**_GPT2, **_IDS}),
    "gpt_neox": Subject("gpt_neox", "GPTNeoXForCausalLM", "GPTNeoXConfig", _NEOX),
    "llama": Subject("llama", "LlamaForCausalLM", "LlamaConfig", {**_DECODER, "mlp_bias": True}, gated=True),
    "mistral": Subject("mistral", "MistralForCausalLM", "MistralConfig", _DECODER, gated=True),
    "qwen2": Subject("qwen2", "Qwen2ForCausalLM", "Qwen2Config", _ENCODER | {"num_key_value_heads": 1}, gated=True),
    "qwen3": Subject("qwen3", "Qwen3ForCausalLM", "Qwen3Config", _DECODER, gated=True),
    "gemma": Subject("gemma", "GemmaForCausalLM", "GemmaConfig", _DECODER, gated=True),
    "gemma2": Subject("gemma2", "Gemma2ForCausalLM", "Gemma2Config", _DECODER, gated=True),
    "gemma3": Subject("gemma3", "Gemma3ForCausalLM", "Gemma3TextConfig", _DECODER, gated=True),
    "bert": Subject("bert", "BertForMaskedLM", "BertConfig", _ENCODER),
    "vit": Subject("vit", "ViTForImageClassification", "ViTConfig", _VIT, vision=True),
    "t5 with relu": Subject(
        "t5", "T5ForConditionalGeneration", "T5Config", _T5 | {"feed_forward_proj": "relu"}, 4, encoder_decoder=True
    ),
    "t5 with a gate": Subject(
        "t5", "T5ForConditionalGeneration", "T5Config", _T5 | {"feed_forward_proj": "gated-gelu"}, 4, gated=True,
        encoder_decoder=True,
    ),
    "bart": Subject("bart", "BartForConditionalGeneration", "BartConfig", _BART, 4, encoder_decoder=True),
}  # fmt: skip


def gpt2(dtype: torch.dtype = torch.float32, **settings: Any) -> PreTrainedModel:
    return SUBJECTS["gpt2"].build(dtype, **settings)


def llama(dtype: torch.dtype = torch.float32, **settings: Any) -> PreTrainedModel:
    return SUBJECTS["llama"].build(dtype, **settings)


def ids(*shape: int) -> Tensor:
    return torch.randint(3, VOCABULARY, shape, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def logits(model: nn.Module, inputs: dict[str, Tensor] | None = None) -> Tensor:
    """What the model makes of the inputs, without gradients."""
    return model(**(inputs or {"input_ids": ids(2, TOKENS)})).logits


def state_of(model: nn.Module) -> tuple[dict[str, Tensor], list[int], str]:
    """Everything that a failed patch must leave alone: tensors, identities of modules and hooks, the configuration."""
    tensors = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    things = [id(module) for module in model.modules()]
    things += [id(hook) for module in model.modules() for hook in module._forward_pre_hooks.values()]
    return tensors, things, str(getattr(model, "config", ""))


def assert_untouched(model: nn.Module, before: tuple[dict[str, Tensor], list[int], str]) -> None:
    tensors, things, config = state_of(model)
    assert list(tensors) == list(before[0])
    assert all(torch.equal(tensors[name], before[0][name]) for name in tensors)
    assert things == before[1]
    assert config == before[2]


def refusals(model: nn.Module, attempt: Callable[[], Any]) -> str:
    """The message of the `UserError` that ``attempt`` ends with, after which ``model`` must be what it was."""
    before = state_of(model)
    with pytest.raises(UserError) as error:
        attempt()
    assert_untouched(model, before)
    assert "\n" not in str(error.value)
    return str(error.value)
