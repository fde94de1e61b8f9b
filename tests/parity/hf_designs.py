"""Tiny models of every preset and of parts that need care on their way through transformers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright.config import list_presets
from gatewright.model import LanguageModel

VOCABULARY = 101
SIZE = [
    *("model.n_layer=2", "model.n_head=4", "model.n_embd=32", "model.block_size=32"),
    f"model.vocab_size={VOCABULARY}",
]
GROUPED = ("llama3", "qwen3")
PRESETS = {
    name: [f"model={name}", *SIZE, *(["model.kv_heads=2"] if name in GROUPED else [])] for name in list_presets("model")
}
PARTS = {
    "paglu, learnable by channel": ["feedforward=paglu", "alpha={name: learnable, per: channel, start: 0.3}"],
    "one α for all layers": [
        "feedforward=paglu", "alpha={name: learnable, per: model, start: 0.3}", "tie_weights=false"
    ],
    "preserve, static": ["feedforward=pareglu", "gate.form=preserve", "alpha=0.3"],
    "skip, GateNorm": ["feedforward=paglu", "gate.form=skip", "gate.norm=before", "alpha=0.7"],
    "scheduled": ["feedforward=pagtu", "alpha=scheduler_cosine"],
    "input-dependent": ["feedforward=pasilu", "alpha=input_projection"],
    "learnable β": ["feedforward=paswishu", "alpha=learnable_0.2"],
    "experts": ["feedforward={name: moe, n_experts: 4, expert: swiglu}"],
    "gated experts with one α": [
        "feedforward={name: moe, n_experts: 2, top_k: 1, normalise: false, expert: paglu}",
        "alpha={name: learnable, per: model}",
    ],
    "alibi, post-norm": ["position=alibi", "norm_position=post"],
    "no positions, sandwich": ["position=none", "norm_position=sandwich", "norm=dyt"],
    "window, gated attention": ["position=rope", "attention={name: sdpa, window: 5, output_gate: head}"],
    "layers that differ": ["position=[rope,none]", "attention=[manual,{name: sdpa, window: 4}]", "kv_heads=1"],
    "scaled embedding": ["embedding_scale=sqrt_dim", "activation=xielu", "init=fan_in"],
}  # fmt: skip
DESIGNS = PRESETS | {
    name: ["model=gpt2", *SIZE, *(f"model.{override}" for override in overrides)] for name, overrides in PARTS.items()
}


def disturbed(model: LanguageModel) -> LanguageModel:
    """``model`` after something like training: every number is other than at the start, and matters."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise * (0.3 if parameter.ndim > 1 else 0.1))
    model.set_step(3, 10)
    return model.eval()


def make(design: str) -> LanguageModel:
    """One of the designs, disturbed."""
    return disturbed(gw.build(gw.load_config(DESIGNS[design]).model))


def ids(*shape: int, seed: int = 1) -> Tensor:
    """Random tokens."""
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def logits(model: nn.Module, tokens: Tensor) -> Tensor:
    """The logits of either kind of model."""
    return model(tokens).logits
