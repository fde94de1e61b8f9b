"""What a model of transformers costs, in the convention of `gatewright.model.cost`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers import PreTrainedModel

from gatewright.errors import UserError
from gatewright.model.cost import ModelCost, kept_bytes
from gatewright.parts.part import Cost
from gatewright.surgery.sites import linear_size

_ATTENTION = re.compile(r"Attention(V\d)?$")
_COMPONENTS = ("embedding", "norm", "attention", "feedforward", "head")


@dataclass(frozen=True)
class PretrainedCost(ModelCost):
    """A `ModelCost` that knows of weights which are not trained."""

    frozen: int = 0
    """Forward FLOPs of linear layers that are not trained: their backward pass takes no gradient of weights."""

    @property
    def flops_per_token(self) -> int:
        return round((3 * self.total.flops - self.frozen) / self.tokens)


def pretrained_cost(model: PreTrainedModel, tokens: int) -> PretrainedCost:
    """The cost of ``model`` on sequences of ``tokens`` tokens; works on the meta device.

    Parameters are counted, tied ones once. FLOPs are those of its linear layers, two per multiply-add, and of
    attention's two products over all T² pairs: 4 T² · heads · head width in each layer; tests hold them against
    `torch.utils.flop_counter.FlopCounterMode`. Training takes three times as many, and twice as many in layers whose
    weights are frozen. Raises `UserError` for weights whose work is not known, such as those of
    convolutions, recurrences and experts.
    """
    found, frozen = dict.fromkeys(_COMPONENTS, Cost()), 0
    counted: set[nn.Parameter] = set()
    for kind, module, path in _leaves(model):
        new = [parameter for parameter in module.parameters(recurse=False) if parameter not in counted]
        counted.update(new)
        size, flops = linear_size(module), 0
        if size is not None:
            flops = 2 * tokens * size[0] * size[1]
            frozen += 0 if any(parameter.requires_grad for parameter in module.parameters()) else flops
        elif not isinstance(module, nn.Embedding) and any(parameter.ndim > 1 for parameter in new):
            raise UserError(f"{type(model).__name__}: the cost of {path} ({type(module).__name__}) is not known")
        found[kind] += Cost(sum(parameter.numel() for parameter in new), flops)
    config = model.config.get_text_config()
    layers = sum(map(_is_attention, model.modules()))
    heads = getattr(config, "num_attention_heads", None)
    if not layers or not heads:
        raise UserError(f"{type(model).__name__}: it is not known which of its modules are attention, and their cost")
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    found["attention"] += Cost(flops=4 * tokens * tokens * heads * width).times(layers)
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    return PretrainedCost(found, tokens, 2 * kv_heads * width * layers, frozen)


def training_memory(model: PreTrainedModel, tokens: int, batch_size: int, precision: str) -> dict[str, int]:
    """Bytes that training takes, by use, as `gatewright.model.cost.training_memory` has them.

    Only what is trained has gradients and moments. ``model`` is a sketch, on the meta device: it cannot be used after.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        held = {name: _like(tensor) for name, tensor in (*model.named_parameters(), *model.named_buffers())}
        ids = torch.zeros(batch_size, tokens, dtype=torch.long)

        def forward() -> None:
            logits = torch.func.functional_call(model, held, (ids,), {"use_cache": False}).logits
            F.cross_entropy(logits.flatten(0, 1).float(), ids.flatten())

        activations = kept_bytes(forward, held.values(), precision)
    weights = sum(4 * parameter.numel() for parameter in model.parameters())
    trained = sum(4 * parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"weights": weights, "gradients": trained, "optimizer": 2 * trained, "activations": activations}


def _like(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty(tensor.shape, dtype=tensor.dtype, requires_grad=tensor.requires_grad)


def _leaves(model: PreTrainedModel) -> Iterator[tuple[str, nn.Module, str]]:
    """Every module that holds parameters itself, with its component and its path; those of attention below it."""
    head = model.get_output_embeddings()
    attention = [path for path, module in model.named_modules() if _is_attention(module)]
    for path, module in model.named_modules():
        if not any(True for _ in module.parameters(recurse=False)):
            continue
        if module is head:
            kind = "head"
        elif isinstance(module, nn.Embedding):
            kind = "embedding"
        elif any(path == above or path.startswith(f"{above}.") for above in attention):
            kind = "attention"
        elif type(module).__name__.endswith("Norm"):
            kind = "norm"
        else:
            kind = "feedforward"
        yield kind, module, path


def _is_attention(module: nn.Module) -> bool:
    """Whether it is the module of one layer's attention, by the name that transformers gives all of them."""
    children = (child for child in module.modules() if child is not module)
    return bool(_ATTENTION.search(type(module).__name__)) and not any(
        _ATTENTION.search(type(child).__name__) for child in children
    )
