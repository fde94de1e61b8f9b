"""What a model is made of: nine choices of parts, the dimensions, and the block that sets the gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from gatewright.config.knob import knob
from gatewright.errors import UserError

PartSpec = Any
"""A part's name, a mapping with ``name`` and knobs, or (for parts of a layer) a list with one of these per layer."""

LAYERS, LARGEST = 10_000, 2**24
"""The most layers, and the most of anything else: beyond, a description alone would fill the memory."""


@dataclass
class GateConfig:
    """How a gated feed-forward joins its two streams (value ``a``, gate ``b``)."""

    form: str | None = knob(None, "gate, blend, skip, preserve or self (any form as self_<form>); null: the unit's own")
    norm: Literal["none", "before", "after"] = knob("none", "GateNorm before or after the gate's activation, or none")


@dataclass
class ModelConfig:
    """The architecture of a decoder-only transformer; the defaults are GPT-2 small's."""

    n_layer: int = knob(12, "transformer blocks")
    n_head: int = knob(12, "query heads")
    kv_heads: int | None = knob(None, "key/value heads (grouped-query attention); null: n_head")
    head_dim: int | None = knob(None, "width of a head; null: n_embd / n_head")
    n_embd: int = knob(768, "model width D")
    block_size: int = knob(1024, "longest sequence T")
    vocab_size: int = knob(50257, "vocabulary V; the data sets it unless data.vocabulary=model")

    norm: PartSpec = knob("layernorm", "normalisation", part="norm")
    activation: PartSpec = knob("gelu_tanh", "activation; null: the feed-forward's own", part="activation")
    position: PartSpec = knob("learned", "position encoding; may be a list, one per layer", part="position")
    attention: PartSpec = knob("sdpa", "attention; may be a list, one per layer", part="attention")
    norm_position: PartSpec = knob("pre", "where norms stand around a sub-layer", part="norm_position")
    feedforward: PartSpec = knob("standard", "feed-forward block; may be a list, one per layer", part="feedforward")
    bias: bool = knob(True, "biases in linear layers")
    tie_weights: bool = knob(True, "the output head shares the token embedding's weights")
    dropout: float = knob(0.0, "dropout everywhere it is not set below")
    attention_dropout: float | None = knob(None, "dropout on attention weights; null: dropout")
    residual_dropout: float | None = knob(None, "dropout on what a sub-layer adds; null: dropout")
    embedding_dropout: float | None = knob(None, "dropout on embeddings; null: dropout")

    hidden: int | None = knob(None, "feed-forward width H; null: chosen by match")
    match: Literal["params", "flops", "width"] = knob(
        "params", "how H is chosen: equal parameters, FLOPs or width of a plain block of width expansion x D"
    )
    expansion: float = knob(4.0, "width of the plain block that match refers to, in units of D")
    multiple_of: int = knob(8, "H is rounded to a multiple of this")
    alpha: Any = knob(
        None, "α of gated feed-forwards: 0.5, learnable, scheduler_cosine, {name: ...} or a list by layer"
    )
    gate: GateConfig = knob(GateConfig(), "form and GateNorm of gated feed-forwards")

    init: PartSpec = knob("gpt2", "initialisation", part="init")
    embedding_scale: Literal["none", "sqrt_dim"] = knob("none", "multiply token embeddings by sqrt(D)")

    def validate(self) -> None:
        """Raise `UserError` for dimensions that cannot be built. Parts check their own knobs when they are built."""
        for name in (
            "n_layer",
            "n_head",
            "n_embd",
            "block_size",
            "vocab_size",
            "multiple_of",
            "kv_heads",
            "head_dim",
            "hidden",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"model.{name}={value}: must be at least 1")
            if value is not None and value > (most := LAYERS if name == "n_layer" else LARGEST):
                raise UserError(f"model.{name}={value}: must be at most {most}")
        if self.head_dim is None and self.n_embd % self.n_head:
            raise UserError(f"model.n_head={self.n_head} does not divide model.n_embd={self.n_embd}")
        if self.n_head % (self.kv_heads or self.n_head):
            raise UserError(f"model.kv_heads={self.kv_heads} does not divide model.n_head={self.n_head}")
        if self.expansion <= 0:
            raise UserError(f"model.expansion={self.expansion}: must be positive")
        for name in ("dropout", "attention_dropout", "residual_dropout", "embedding_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise UserError(f"model.{name}={value}: must be in [0, 1)")
