"""The name of an architecture, read off the built model."""

from __future__ import annotations

from collections.abc import Iterable

from gatewright.config.model import ModelConfig
from gatewright.model.build import build
from gatewright.model.language_model import LanguageModel


def architecture_name(model: ModelConfig | LanguageModel) -> str:
    """A name such as ``12L-12H-768D-RoPE-RMS-SwiGLU-PreNorm``.

    Layers, query heads (``12H4KV`` with grouped queries), width, position, norm, what is special about the attention,
    feed-forward, norm position. Every word comes from a part of the model that was built, none from the request.
    """
    if isinstance(model, ModelConfig):
        model = build(model, device="meta")
    words = component_labels(model)
    size = [f"{len(model.blocks)}L", words.pop("heads"), f"{model.embedding.embedding_dim}D"]
    return "-".join([*size, *(word for word in words.values() if word)])


def component_labels(model: LanguageModel) -> dict[str, str]:
    """The word of each choice, joined by ``+`` where layers differ."""
    blocks = list(model.blocks)
    first = blocks[0].attention
    heads = f"{first.n_head}H" + (f"{first.kv_heads}KV" if first.kv_heads != first.n_head else "")
    return {
        "heads": heads,
        "position": _join(model.positions[i].label for i in model.position_of_layer),
        "norm": _join(block.attention_residual.norm.label for block in blocks),
        "attention": _join(block.attention.label for block in blocks),
        "feedforward": _join(block.feedforward.label for block in blocks),
        "norm_position": _join(block.attention_residual.label for block in blocks),
    }


def _join(labels: Iterable[str]) -> str:
    words = list(dict.fromkeys(labels))
    return "+".join(word or "Full" for word in words) if len(words) > 1 else words[0]
