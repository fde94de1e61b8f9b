"""The families of Hugging Face models that our parts can express, and how their weights are named there.

A family is a table: their name of a tensor, ours, and what lies between. `to_native` and `from_native` read the same
table in the two directions, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from gatewright.errors import UserError, unknown


@dataclass(frozen=True)
class Weight:
    """One tensor of theirs: made of ours side by side (GPT-2 keeps q, k and v in one), perhaps transposed.

    ``optional``: the family has models with it and models without.
    """

    native: str
    ours: tuple[str, ...]
    transposed: bool = False
    optional: bool = False

    def in_layer(self, layer: int) -> Weight:
        """This entry for one layer of the stack."""
        native, *ours = (name.replace("{i}", str(layer)) for name in (self.native, *self.ours))
        return replace(self, native=native, ours=tuple(ours))


def _linear(
    native: str, *ours: str, transposed: bool = False, bias: Literal["always", "perhaps", "never"] = "always"
) -> list[Weight]:
    found = [Weight(f"{native}.weight", tuple(f"{o}.weight" for o in ours), transposed)]
    if bias != "never":
        found += [Weight(f"{native}.bias", tuple(f"{o}.bias" for o in ours), optional=bias == "perhaps")]
    return found


_ATTENTION, _FEEDFORWARD = "blocks.{i}.attention", "blocks.{i}.feedforward"
_NORMS = ("blocks.{i}.attention_residual.norm", "blocks.{i}.feedforward_residual.norm")

_GPT2 = [
    Weight("transformer.wte.weight", ("embedding.weight",)),
    Weight("transformer.wpe.weight", ("positions.0.embedding.weight",)),
    *_linear("transformer.h.{i}.ln_1", _NORMS[0]),
    *_linear("transformer.h.{i}.ln_2", _NORMS[1]),
    *_linear("transformer.h.{i}.attn.c_attn", *(f"{_ATTENTION}.{s}_proj" for s in "qkv"), transposed=True),
    *_linear("transformer.h.{i}.attn.c_proj", f"{_ATTENTION}.o_proj", transposed=True),
    *_linear("transformer.h.{i}.mlp.c_fc", f"{_FEEDFORWARD}.up_proj", transposed=True),
    *_linear("transformer.h.{i}.mlp.c_proj", f"{_FEEDFORWARD}.down_proj", transposed=True),
    *_linear("transformer.ln_f", "norm"),
]
_LLAMA = [
    Weight("model.embed_tokens.weight", ("embedding.weight",)),
    *_linear("model.layers.{i}.input_layernorm", _NORMS[0], bias="never"),
    *_linear("model.layers.{i}.post_attention_layernorm", _NORMS[1], bias="never"),
    *(
        weight
        for s in "qkvo"
        for weight in _linear(f"model.layers.{{i}}.self_attn.{s}_proj", f"{_ATTENTION}.{s}_proj", bias="perhaps")
    ),
    *_linear("model.layers.{i}.mlp.up_proj", f"{_FEEDFORWARD}.up_proj", bias="perhaps"),
    *_linear("model.layers.{i}.mlp.gate_proj", f"{_FEEDFORWARD}.gate_proj", bias="perhaps"),
    *_linear("model.layers.{i}.mlp.down_proj", f"{_FEEDFORWARD}.down_proj", bias="perhaps"),
    *_linear("model.norm", "norm", bias="never"),
]
_QWEN3 = [
    *_LLAMA,
    *_linear("model.layers.{i}.self_attn.q_norm", f"{_ATTENTION}.q_norm", bias="never"),
    *_linear("model.layers.{i}.self_attn.k_norm", f"{_ATTENTION}.k_norm", bias="never"),
]
_HEAD = Weight("lm_head.weight", ("head.weight",), optional=True)
_TABLES = (".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq")
"""How tensors of theirs end that hold no weights, but masks and angles that anyone can compute."""

Family = Literal["gpt2", "llama", "qwen3"]
FAMILIES: dict[str, list[Weight]] = {"gpt2": _GPT2, "llama": _LLAMA, "qwen3": _QWEN3}
"""Each family's tensors; ``{i}`` stands for the layer. The output head is there where it is not tied."""


def to_native(state: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Our state dict under the family's names. A tied head is left out, as safetensors files leave it out.

    Raises `UserError` for an unknown family, and for a model that has tensors too many or too few for the family.
    """
    native: dict[str, Tensor] = {}
    used: set[str] = set()
    for weight in _weights(family, state):
        if not all(name in state for name in weight.ours):
            if weight.optional:
                continue
            raise UserError(f"this model is not a {family}: it has nothing for {weight.native}")
        joined = torch.cat([state[name] for name in weight.ours], dim=0)
        native[weight.native] = joined.t().contiguous() if weight.transposed else joined
        used.update(weight.ours)
    if left := sorted(set(state) - used):
        raise UserError(f"this model is not a {family}: it has {left[0]} and {len(left) - 1} more that {family} lacks")
    return native


def from_native(state: Mapping[str, Tensor], family: Family, shapes: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The family's state dict under our names. ``shapes`` is our model's own state dict, which says what to split.

    Raises `UserError` for an unknown family, for tensors that are missing or left over, and for shapes that do not fit.
    """
    ours: dict[str, Tensor] = {}
    left = {name for name in state if not name.endswith(_TABLES)}
    for weight in _weights(family, shapes):
        if not all(name in shapes for name in weight.ours):
            continue
        if weight.native not in state:
            raise UserError(f"the {family} weights lack {weight.native}")
        joined = state[weight.native].t() if weight.transposed else state[weight.native]
        left.remove(weight.native)
        rows = [shapes[name].shape[0] for name in weight.ours]
        if joined.shape != (sum(rows), *shapes[weight.ours[0]].shape[1:]):
            raise UserError(
                f"{weight.native} has shape {tuple(state[weight.native].shape)}, which does not fit the model"
            )
        ours.update(zip(weight.ours, (part.contiguous() for part in joined.split(rows)), strict=True))
    if missing := sorted(set(shapes) - set(ours)):
        raise UserError(f"this model is not a {family}: {family} has nothing for its {missing[0]}")
    if _HEAD.native in left and torch.equal(state[_HEAD.native], ours["embedding.weight"]):
        left.remove(_HEAD.native)  # tied, and written out all the same
    if left:
        raise UserError(
            f"the model has no place for {min(left)}" + (f" and {len(left) - 1} more" if len(left) > 1 else "")
        )
    return ours


def _weights(family: str, state: Mapping[str, Tensor]) -> list[Weight]:
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    layers = sorted({int(name.split(".")[1]) for name in state if name.startswith("blocks.")})
    table = [*FAMILIES[family], _HEAD]
    return [w.in_layer(i) for w in table if "{i}" in w.native for i in layers] + [
        w for w in table if "{i}" not in w.native
    ]
