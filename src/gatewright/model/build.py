"""From a `ModelConfig` to a model."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from gatewright.config.model import ModelConfig
from gatewright.errors import UserError
from gatewright.model.block import Block
from gatewright.model.language_model import LanguageModel
from gatewright.model.width import solve_width
from gatewright.parts.alpha.parse import make_alpha, parse_alpha
from gatewright.parts.feedforward.base import FeedForward, own_activation
from gatewright.parts.gates.forms import find_form
from gatewright.parts.part import Dims, empty_embedding
from gatewright.parts.positions.base import Position
from gatewright.registry import create, find, split_spec


def build(config: ModelConfig, *, seed: int = 0, device: str | torch.device = "cpu") -> LanguageModel:
    """The model that ``config`` describes, with weights drawn from ``seed``.

    It is laid out on the meta device first, so every check of every part happens before memory is taken; with
    ``device="meta"`` it stays there. Raises `UserError` for a configuration that cannot be built.
    """
    config.validate()
    with torch.device("meta"):
        model = assemble(config)
    model.config = copy.deepcopy(config)
    if torch.device(device).type != "meta":
        model.to_empty(device=device)
        model.initialise(seed)
    return model


def dims_of(config: ModelConfig) -> Dims:
    """The dimensions that parts are sized by."""
    return Dims(
        n_embd=config.n_embd,
        n_head=config.n_head,
        kv_heads=config.kv_heads or config.n_head,
        head_dim=config.head_dim or config.n_embd // config.n_head,
        block_size=config.block_size,
        n_layer=config.n_layer,
        bias=config.bias,
    )


def effective_activation(config: ModelConfig) -> Any:
    """The activation to record: the model's if any feed-forward takes it, else their own, null if they differ."""
    own = [own_activation(spec) for spec in _per_layer("feedforward", config.feedforward, config.n_layer)]
    if None in own:
        return config.activation
    return own[0] if all(each == own[0] for each in own) else None


def assemble(config: ModelConfig) -> LanguageModel:
    """The model's modules on the current default device, their weights yet without meaning."""
    _check_activation(config)
    dims = dims_of(config)
    position_specs = _per_layer("position", config.position, config.n_layer)
    distinct: list[Any] = []
    for spec in position_specs:
        if spec not in distinct:
            distinct.append(spec)
    positions: list[Position] = [create("position", spec, dims) for spec in distinct]
    attentions = _per_layer("attention", config.attention, config.n_layer)
    feedforwards = _per_layer("feedforward", config.feedforward, config.n_layer)
    alphas = _alphas(config, dims)
    blocks = []
    for layer in range(config.n_layer):
        at = dims.at(layer=layer)
        attention = create("attention", attentions[layer], at, dropout=_dropout(config, "attention"))
        feedforward = _feedforward(config, feedforwards[layer], alphas[layer], at)
        residuals = [
            create("norm_position", config.norm_position, at, norm=config.norm, dropout=_dropout(config, "residual"))
            for _ in range(2)
        ]
        blocks.append(Block(attention, feedforward, *residuals))
    return LanguageModel(
        embedding=empty_embedding(config.vocab_size, config.n_embd),
        positions=positions,
        position_of_layer=[distinct.index(spec) for spec in position_specs],
        blocks=blocks,
        norm=create("norm", config.norm, dims) if blocks[-1].feedforward_residual.final_norm else None,
        head=None if config.tie_weights else nn.Linear(config.n_embd, config.vocab_size, bias=False),
        init=create("init", config.init, dims),
        block_size=config.block_size,
        embedding_scale=math.sqrt(config.n_embd) if config.embedding_scale == "sqrt_dim" else 1.0,
        embedding_dropout=_dropout(config, "embedding"),
    )


def _feedforward(config: ModelConfig, spec: Any, alpha: Any, dims: Dims) -> FeedForward:
    name, knobs = split_spec("feedforward", spec)
    activation = config.activation if own_activation(spec) is None else None
    gate_norm = None if config.gate.norm == "none" else config.gate.norm
    context = {"activation": activation, "alpha": alpha, "form": config.gate.form, "gate_norm": gate_norm}
    form = knobs.get("form", config.gate.form)

    def make(spec: Any, hidden: int, **context: Any) -> FeedForward:
        required = ("alpha", "form", "gate_norm")
        return create("feedforward", spec, dims, hidden=hidden, required=required, **context)

    plain_width = max(1, round(config.expansion * config.n_embd))
    square = _is_square(name, form)
    if config.hidden is not None:
        if square and config.hidden != config.n_embd:
            raise UserError(
                f"model.hidden={config.hidden}: feed-forward '{name}' mixes its input into its hidden stream, so that "
                f"its width must be model.n_embd={config.n_embd}"
            )
        return make(spec, config.hidden, **context)
    if square:
        return make(spec, config.n_embd, **context)
    if find("feedforward", name).name == "standard" or config.match == "width":
        return make(spec, plain_width, **context)

    def measure(block: FeedForward) -> int:
        cost = block.cost(config.block_size)
        return cost.parameters if config.match == "params" else cost.flops

    plain = make("standard", plain_width, activation="relu")
    width = solve_width(lambda h: measure(make(spec, h, **context)), measure(plain), config.multiple_of)
    return make(spec, width, **context)


def _is_square(name: str, form: str | None) -> bool:
    """Whether the block mixes its input into its hidden stream, so that H must be D."""
    gate = find("feedforward", name).fixed.get("gate")
    return (form is not None and find_form(form).square) or (gate is not None and find("gate", gate).target.square)


def _check_activation(config: ModelConfig) -> None:
    """Refuse an activation that no feed-forward would use."""
    if config.activation is None:
        return
    asked = _canonical("activation", config.activation)
    specs = _per_layer("feedforward", config.feedforward, config.n_layer)
    own = [own_activation(spec) for spec in specs]
    if None not in own:
        for spec, activation in zip(specs, own, strict=True):
            if _canonical("activation", activation) != asked:
                name = split_spec("feedforward", spec)[0]
                raise UserError(
                    f"model.feedforward={name} has the activation {activation}, "
                    f"but model.activation={config.activation}"
                )


def _canonical(kind: str, spec: Any) -> tuple[str, dict[str, Any]]:
    name, knobs = split_spec(kind, spec)
    return find(kind, name).name, knobs


def _alphas(config: ModelConfig, dims: Dims) -> list[Any]:
    """The α of each layer: a specification, or one shared module for ``per: model``."""
    if config.alpha is None:
        return [None] * config.n_layer
    layers = config.alpha if isinstance(config.alpha, list) else [config.alpha] * config.n_layer
    if len(layers) != config.n_layer:
        raise UserError(f"model.alpha has {len(layers)} entries for model.n_layer={config.n_layer}")
    specs = [None if spec is None else parse_alpha(spec) for spec in layers]
    if not any(spec and spec.get("per") == "model" for spec in specs):
        return specs
    if any(spec != specs[0] for spec in specs):
        raise UserError("model.alpha: per=model is one α for all layers; a list cannot have others beside it")
    return [make_alpha(specs[0], dims)] * config.n_layer


def _per_layer(kind: str, spec: Any, n_layer: int) -> list[Any]:
    if not isinstance(spec, list):
        return [spec] * n_layer
    if len(spec) != n_layer:
        raise UserError(f"model.{kind} has {len(spec)} entries for model.n_layer={n_layer}")
    return spec


def _dropout(config: ModelConfig, place: str) -> float:
    own = getattr(config, f"{place}_dropout")
    return float(config.dropout if own is None else own)
