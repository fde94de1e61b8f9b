"""What ``init`` decides about the rest of a configuration."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from gatewright.config import Config, DataConfig, ModelConfig
from gatewright.errors import UserError
from gatewright.pretrained.source import Source, find_source


def settle(config: Config, keys: Collection[str] | None = None, presets: Collection[str] = ()) -> None:
    """Set in ``config`` what the model of ``config.init`` decides: the keys of ``model``, vocabulary and tokenizer.

    A model of ours is what it is: all of ``model`` is its own. Of one of transformers the sizes are written down for
    the records, and ``model.block_size`` may be anything up to its context. ``keys`` and ``presets`` are what somebody
    asked for just now; where that is not known (None), it is what differs from the defaults. Raises `UserError` for
    what cannot be opened, for a key of ``model`` that is set against this, for a patch of anything but a model of
    transformers, and for documents that such a model cannot keep apart.
    """
    if config.init is None:
        if config.patch is not None:
            raise UserError("patch needs init=, the trained model that gets the gates")
        return
    source = find_source(config.init)
    if source.is_ours and config.patch is not None:
        raise UserError(f"patch is for models of transformers; init={config.init} is one of ours")
    if config.data.document_masking and not source.is_ours:
        raise UserError(
            f"data.document_masking: init={config.init} is a model of transformers, which sees all that is before it"
        )
    model = source.config.model_config() if source.is_ours else _sizes(source, config.model.block_size)
    _check_unset(config, model, keys, presets, source)
    named = config.data.tokenizer != DataConfig().tokenizer if keys is None else "data.tokenizer" in keys
    settled = config.data.vocabulary == "model" and not (keys and "init" in keys)  # in a file, when that was written
    if not (named or settled):
        config.data.tokenizer = source.tokenizer
    config.data.vocabulary, config.model = "model", model
    if keys is not None and not source.is_ours:
        from gatewright.pretrained.opening import sketch

        sketch(source, config)  # the first to see whether the gates fit


def _check_unset(
    config: Config, model: ModelConfig, keys: Collection[str] | None, presets: Collection[str], source: Source
) -> None:
    """Refuse a key of ``model`` that was set to something else than ``init`` has."""
    default, any_key = ModelConfig(), keys is None or not {"model", "scale"}.isdisjoint(presets)
    for name in (field.name for field in fields(ModelConfig)):
        key, value, own = f"model.{name}", getattr(config.model, name), getattr(model, name)
        is_set = key in (keys or ()) or (any_key and value != getattr(default, name))
        if is_set and value != own:
            if name == "block_size" and not source.is_ours:
                raise UserError(f"{key}={value}: the context of init={config.init} is {own}")
            left = "" if source.is_ours else "; of model there is only block_size to choose"
            raise UserError(f"{key}={value}: init={config.init} has its own{left}")


def _sizes(source: Source, block_size: int) -> ModelConfig:
    """The sizes of a model of transformers, with sequences of ``block_size``, or of its context if that is shorter."""
    found: Any = source.config.get_text_config()
    context = getattr(found, "max_position_embeddings", None)
    sizes = {
        "n_layer": getattr(found, "num_hidden_layers", None),
        "n_head": getattr(found, "num_attention_heads", None),
        "kv_heads": getattr(found, "num_key_value_heads", None),
        "head_dim": getattr(found, "head_dim", None),
        "n_embd": getattr(found, "hidden_size", None),
        "vocab_size": getattr(found, "vocab_size", None),
        "hidden": getattr(found, "intermediate_size", None),
        "block_size": min(block_size, context or block_size),
    }
    known: dict[str, Any] = {key: value for key, value in sizes.items() if isinstance(value, int)}
    return ModelConfig(**known)
