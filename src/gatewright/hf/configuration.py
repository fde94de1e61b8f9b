"""The configuration of one of our models, as transformers wants it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from gatewright.config.config import from_dict
from gatewright.config.model import ModelConfig
from gatewright.errors import UserError, did_you_mean
from gatewright.hf.description import MODEL_TYPE, describe

_KEYS = tuple(field.name for field in fields(ModelConfig))
_OWN = {"use_cache": True, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
"""Keys that transformers would take for parameters of generation and drop."""


class GatewrightConfig(PreTrainedConfig):
    """The keys of ``model`` in our own configuration, under their names, and the few that transformers adds.

    Sizes answer to the names that are usual there too: ``hidden_size`` is ``n_embd``. Raises `UserError` for values
    that `ModelConfig` refuses and for what looks like a mistyped key.
    """

    model_type = MODEL_TYPE
    keys_to_ignore_at_inference = ["past_key_values"]
    attribute_map = {
        "hidden_size": "n_embd",
        "max_position_embeddings": "block_size",
        "num_attention_heads": "n_head",
        "num_hidden_layers": "n_layer",
        "tie_word_embeddings": "tie_weights",
    }

    def __init__(self, **values: Any) -> None:
        values = {self.attribute_map.get(key, key): value for key, value in values.items()}
        model = from_dict(ModelConfig, {key: values.pop(key) for key in _KEYS if key in values}, MODEL_TYPE)
        for key in values:  # transformers takes any key there is; a slip of one letter must not go unnoticed
            if near := get_close_matches(key, _KEYS, n=1, cutoff=0.85):
                raise UserError(
                    f"unknown key '{key}' in the configuration of a {MODEL_TYPE} model{did_you_mean(key, near)}"
                )
        own = {key: values.pop(key, default) for key, default in _OWN.items()}
        super().__init__(**values)
        for key, value in {**own, **asdict(model)}.items():
            setattr(self, key, value)

    @classmethod
    def of(cls, config: ModelConfig, plugins: Mapping[str, str] | None = None, **values: Any) -> GatewrightConfig:
        """The configuration of the model that ``config`` describes; ``values`` are what transformers adds."""
        return cls(**describe(config, plugins), **values)

    def model_config(self) -> ModelConfig:
        """Our configuration of the model."""
        return from_dict(ModelConfig, {key: getattr(self, key) for key in _KEYS}, MODEL_TYPE)

    @property
    def num_key_value_heads(self) -> int:
        """``kv_heads``, or ``n_head`` where that is null."""
        return int(self.kv_heads or self.n_head)


AutoConfig.register(MODEL_TYPE, GatewrightConfig)
