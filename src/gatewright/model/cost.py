"""What a model costs, computed from its parts before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from gatewright.config.model import ModelConfig
from gatewright.model.build import assemble, build
from gatewright.model.language_model import LanguageModel
from gatewright.parts.alpha.base import Alpha
from gatewright.parts.part import Cost, Part, linear_cost

CONVENTION = (
    "two FLOPs per multiply-add of a matrix product; attention over all T² pairs, causal or not; element-wise work, "
    "norms and look-ups count nothing; backward twice forward, so training is 3 × forward; per token at T = block_size"
)


@dataclass(frozen=True)
class ModelCost:
    """Parameters and FLOPs of a model, by component. `CONVENTION` says what is counted."""

    components: dict[str, Cost]
    tokens: int
    kv_cache_elements_per_token: int

    @property
    def total(self) -> Cost:
        """All components together, for one sequence."""
        return sum(self.components.values(), Cost())

    @property
    def parameters(self) -> int:
        """Stored parameters; tied weights once."""
        return self.total.parameters

    @property
    def active_parameters(self) -> int:
        """Parameters one token passes through (fewer than stored in a mixture of experts)."""
        return self.total.active

    @property
    def forward_flops_per_token(self) -> int:
        """FLOPs of a forward pass, per token of a full sequence."""
        return round(self.total.flops / self.tokens)

    @property
    def flops_per_token(self) -> int:
        """FLOPs of a training step (forward and backward), per token of a full sequence."""
        return round(3 * self.total.flops / self.tokens)

    @property
    def attention_ffn_ratio(self) -> float:
        """Forward FLOPs of attention over those of the feed-forward."""
        return self.components["attention"].flops / max(1, self.components["feedforward"].flops)

    @property
    def breakdown(self) -> dict[str, dict[str, int]]:
        """Parameters and forward FLOPs per token of each component."""
        return {
            name: {"parameters": part.parameters, "forward_flops_per_token": round(part.flops / self.tokens)}
            for name, part in self.components.items()
        }

    def kv_cache_bytes_per_token(self, bytes_per_element: int = 2) -> int:
        """Bytes of keys and values that one token leaves in the cache (bf16 unless told)."""
        return self.kv_cache_elements_per_token * bytes_per_element

    def to_dict(self) -> dict[str, Any]:
        """Everything, for JSON."""
        return {
            "parameters": self.parameters,
            "active_parameters": self.active_parameters,
            "flops_per_token": self.flops_per_token,
            "forward_flops_per_token": self.forward_flops_per_token,
            "attention_ffn_ratio": self.attention_ffn_ratio,
            "kv_cache_bytes_per_token": self.kv_cache_bytes_per_token(),
            "tokens_per_sequence": self.tokens,
            "breakdown": self.breakdown,
            "convention": CONVENTION,
        }


def cost(model: ModelConfig | LanguageModel, tokens: int | None = None) -> ModelCost:
    """The cost of a model on sequences of ``tokens`` tokens (``block_size`` if left out).

    FLOPs equal those that `torch.utils.flop_counter.FlopCounterMode` counts on a forward pass, and parameters those of
    the built model; tests hold both.
    """
    if isinstance(model, ModelConfig):
        model = build(model, device="meta")
    tokens = tokens or model.block_size
    vocabulary, width = model.embedding.num_embeddings, model.embedding.embedding_dim
    head = linear_cost(model.head, tokens) if model.head is not None else Cost(0, 2 * tokens * width * vocabulary)
    norms: list[Part] = [r for b in model.blocks for r in (b.attention_residual, b.feedforward_residual)]
    norms += [model.norm] if model.norm is not None else []
    feedforward = sum((b.feedforward.cost(tokens) for b in model.blocks), Cost())
    components = {
        "embedding": Cost(vocabulary * width),
        "position": sum((p.cost(tokens) for p in model.positions), Cost()),
        "norm": sum((n.cost(tokens) for n in norms), Cost()),
        "attention": sum((b.attention.cost(tokens) for b in model.blocks), Cost()),
        "feedforward": feedforward + _shared_alphas(model).times(-1),
        "head": head,
    }
    cached = sum(2 * b.attention.kv_heads * b.attention.head_dim for b in model.blocks)
    return ModelCost(components, tokens, cached)


def _shared_alphas(model: LanguageModel) -> Cost:
    """The parameters of α that layers share, as often as they were counted too many times."""
    layers = Counter(module for block in model.blocks for module in block.modules() if isinstance(module, Alpha))
    return sum((Cost(alpha.cost(1).parameters).times(n - 1) for alpha, n in layers.items()), Cost())


def training_memory(model: ModelConfig, batch_size: int, *, precision: str = "float32") -> dict[str, int]:
    """Bytes that training takes, by use: weights, gradients, optimizer state, activations kept for backward.

    Weights, gradients and AdamW's two moments are float32. Activations are counted, not guessed: the model runs on fake
    tensors and what autograd keeps is added up, each storage once. Allocator overhead is not in it, and compilation
    keeps less.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    model.validate()
    with FakeTensorMode():
        network = assemble(model).train()
        ids = torch.zeros(batch_size, model.block_size, dtype=torch.long)
        activations = kept_bytes(lambda: network(ids, targets=ids), network.parameters(), precision)
    weights = 4 * sum(p.numel() for p in network.parameters())
    return {"weights": weights, "gradients": weights, "optimizer": 2 * weights, "activations": activations}


def kept_bytes(forward: Callable[[], object], owned: Iterable[torch.Tensor], precision: str) -> int:
    """Bytes that autograd keeps of a forward pass under autocast, each storage once, those of ``owned`` left out."""
    kept: dict[int, Any] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
        torch.autocast("cpu", low, enabled=low is not None),
    ):
        forward()
    known = {tensor.untyped_storage()._cdata for tensor in owned}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in known)
