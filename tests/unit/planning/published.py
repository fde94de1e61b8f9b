"""Published trainings, as their sources state them; none of them went into the planner.

What the planner took from measurements, the ``sustained`` shares of ``kinds.yaml``, comes from another source.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from gatewright.config import ModelConfig
from gatewright.planning import PlanRequest, plan


def llama(**changes: Any) -> ModelConfig:
    """LLaMA's parts; the sizes are each run's own."""
    parts = {"norm": "rmsnorm", "activation": "silu", "position": "rope", "feedforward": "swiglu"}
    return ModelConfig(**{**parts, "bias": False, "tie_weights": False, "vocab_size": 32_000, **changes})


def gpt2(n_layer: int, n_head: int, n_embd: int, **changes: Any) -> ModelConfig:
    """GPT-2's parts."""
    return ModelConfig(n_layer=n_layer, n_head=n_head, n_embd=n_embd, **changes)


def llama1(n_layer: int, n_head: int, n_embd: int, hidden: int) -> ModelConfig:
    """Touvron et al. 2023a, table 2; hidden widths from the released weights."""
    return llama(n_layer=n_layer, n_head=n_head, n_embd=n_embd, hidden=hidden, block_size=2048)


def llama2(n_layer: int, n_head: int, n_embd: int, hidden: int, **changes: Any) -> ModelConfig:
    """Touvron et al. 2023b, table 1; hidden widths from the released weights."""
    return llama(n_layer=n_layer, n_head=n_head, n_embd=n_embd, hidden=hidden, block_size=4096, **changes)


def llama3(n_layer: int, n_head: int, n_embd: int, hidden: int) -> ModelConfig:
    """Grattafiori et al. 2024, table 3."""
    sizes = {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd, "hidden": hidden, "kv_heads": 8}
    return llama(**sizes, block_size=8192, vocab_size=128_256)


A100 = {"kind": "a100"}
LLAMA1 = {**A100, "gpus": 2048, "batch_tokens": 2**22}
LLAMA2 = {**A100, "gpus": 1024, "batch_tokens": 2**22}
LLAMA3 = {"kind": "h100", "gpus": 16_384, "batch_tokens": 2**27}
LLM_C = {"gpus": 8, "mode": "zero1", "recompute": "none", "batch_tokens": 2**19}
TITAN = {"kind": "h100", "gpus": 8, "mode": "fsdp2", "recompute": "feedforward", "micro_batch": 2,
         "batch_tokens": 2**17}  # fmt: skip


_planned: dict[str, Any] = {}
"""Two numbers may be published of one training."""


@dataclass(frozen=True)
class Published:
    """One published number: where it stands in `Plan.to_dict`, and the plan that it is compared with."""

    name: str
    quantity: str
    """A dotted path into `Plan.to_dict`."""
    value: float
    model: ModelConfig
    request: dict[str, Any] = field(default_factory=dict)

    def predicted(self) -> float:
        """What we would have said."""
        planned = self.model, PlanRequest(**self.request)
        found = _planned[repr(planned)] = _planned.get(repr(planned)) or plan(*planned).to_dict()
        for key in self.quantity.split("."):
            found = found[key]
        return float(found)


PER_GPU, STEP = "speed.tokens_per_second_per_gpu", "speed.step"
HOURS, DAYS, FLOPS = "training.gpu_hours", "training.days", "training.flops"

WHILE_RUNNING = [
    Published("LLaMA 65B", PER_GPU, 380, llama1(80, 64, 8192, 22_016), LLAMA1),
    Published("llm.c, GPT-2 124M", STEP, 0.300, gpt2(12, 12, 768), {**LLM_C, **A100, "micro_batch": 64}),
    Published("llm.c, GPT-2 350M", STEP, 0.820, gpt2(24, 16, 1024), {**LLM_C, **A100, "micro_batch": 64}),
    Published("llm.c, GPT-2 774M", STEP, 1.7, gpt2(36, 20, 1280), {**LLM_C, **A100, "micro_batch": 32}),
    Published("llm.c, GPT-2 1558M", STEP, 2.8, gpt2(48, 25, 1600),
              {**LLM_C, "kind": "h100", "micro_batch": 16, "batch_tokens": 2**20}),
    Published("torchtitan, Llama 3.1 8B", PER_GPU, 5762, llama3(32, 32, 4096, 14_336), TITAN),
    Published("torchtitan, Llama 3.1 8B, compiled", PER_GPU, 6667, llama3(32, 32, 4096, 14_336), TITAN),
]  # fmt: skip
"""Speeds of running trainings."""

WHOLE = [
    Published("nanoGPT, GPT-2 124M", DAYS, 4, gpt2(12, 12, 768),
              {"gpus": 8, "kind": "a100-40gb", "mode": "ddp", "micro_batch": 12, "batch_tokens": 491_520,
               "tokens": 600_000 * 491_520}),
    Published("LLaMA 7B", HOURS, 82_432, llama1(32, 32, 4096, 11_008), {**LLAMA1, "tokens": 1e12}),
    Published("LLaMA 13B", HOURS, 135_168, llama1(40, 40, 5120, 13_824), {**LLAMA1, "tokens": 1e12}),
    Published("LLaMA 33B", HOURS, 530_432, llama1(60, 52, 6656, 17_920), {**LLAMA1, "tokens": 1.4e12}),
    Published("LLaMA 65B", HOURS, 1_022_362, llama1(80, 64, 8192, 22_016), {**LLAMA1, "tokens": 1.4e12}),
    Published("Llama 2 7B", HOURS, 184_320, llama2(32, 32, 4096, 11_008), {**LLAMA2, "tokens": 2e12}),
    Published("Llama 2 13B", HOURS, 368_640, llama2(40, 40, 5120, 13_824), {**LLAMA2, "tokens": 2e12}),
    Published("Llama 2 70B", HOURS, 1_720_320, llama2(80, 64, 8192, 28_672, kv_heads=8), {**LLAMA2, "tokens": 2e12}),
    Published("Llama 3.1 8B", HOURS, 1.46e6, llama3(32, 32, 4096, 14_336), {**LLAMA3, "tokens": 15e12}),
    Published("Llama 3.1 70B", HOURS, 7.0e6, llama3(80, 64, 8192, 28_672), {**LLAMA3, "tokens": 15e12}),
    Published("Llama 3.1 405B", HOURS, 30.84e6, llama3(126, 128, 16_384, 53_248), {**LLAMA3, "tokens": 15.6e12}),
]  # fmt: skip
"""Whole trainings, with all that came between the steps."""

COMPUTE = [
    Published("GPT-3 175B", FLOPS, 3.14e23, gpt2(96, 96, 12_288, block_size=2048),
              {"gpus": 1024, "tokens": 300e9}),
    Published("Llama 3.1 405B", FLOPS, 3.8e25, llama3(126, 128, 16_384, 53_248), {**LLAMA3, "tokens": 15.6e12}),
]  # fmt: skip
"""FLOPs of whole trainings."""
