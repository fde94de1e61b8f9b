"""From transformers' configuration of a model to our modules, and from modules to our model again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gatewright.hf.configuration import GatewrightConfig
from gatewright.model.build import assemble
from gatewright.model.language_model import LanguageModel
from gatewright.plugins import recall_plugins

if TYPE_CHECKING:
    from gatewright.hf.modeling import GatewrightForCausalLM


def assemble_from(config: GatewrightConfig) -> LanguageModel:
    """The modules that ``config`` describes, on the current default device; their weights mean nothing yet.

    Raises `UserError` where ``config`` names files of parts that the user has not named.
    """
    recall_plugins(getattr(config, "plugins", {}))
    ours = config.model_config()
    ours.validate()
    if config._attn_implementation == "eager" and kernels(config) == {"sdpa"}:
        ours.attention = _with_manual_kernel(ours.attention)
    return assemble(ours)


def language_model(model: GatewrightForCausalLM) -> LanguageModel:
    """Our model with the very modules of ``model``."""
    trunk, config = model.model, model.config.model_config()
    ours = LanguageModel(
        embedding=trunk.embedding,
        positions=trunk.positions,
        position_of_layer=trunk.position_of_layer,
        blocks=trunk.blocks,
        norm=trunk.norm,
        head=None if config.tie_weights else model.head,
        init=trunk.init,
        block_size=trunk.block_size,
        embedding_scale=trunk.embedding_scale,
        embedding_dropout=trunk.embedding_dropout.p,
    )
    ours.config = config
    return ours


def kernels(config: GatewrightConfig) -> set[str]:
    """The names of the attentions of all layers."""
    specs = config.attention if isinstance(config.attention, list) else [config.attention]
    return {spec if isinstance(spec, str) else spec["name"] for spec in specs}


def _with_manual_kernel(spec: Any) -> Any:
    if isinstance(spec, list):
        return [_with_manual_kernel(each) for each in spec]
    return "manual" if isinstance(spec, str) else {**spec, "name": "manual"}
