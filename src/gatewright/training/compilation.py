"""When `torch.compile` is worth its time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatewright.config import Config
from gatewright.errors import UserError
from gatewright.hardware.compiler import cpp_compiler

EARNED = {"cpu": 1e13, "cuda": 2e16}
"""FLOPs of a run from which on it is compiled: a few minutes' worth, against the half or whole minute it takes."""


def resolve_compile(config: Config, device: torch.device, flops_per_token: float) -> bool:
    """Whether to compile the run. `UserError` where that is asked for and there is no compiler.

    ``auto`` leaves alone what was never meant to be compiled: reinforcement learning, models of transformers, and runs
    of several processes.
    """
    can = device.type != "cpu" or cpp_compiler() is not None
    wanted = config.train.compile
    if wanted is True and not can:
        raise UserError("train.compile=true needs a C++ compiler (g++ or clang++, or the one named by $CXX)")
    if wanted != "auto":
        return wanted
    train = config.train
    tokens = train.max_steps * train.batch_size * train.grad_accumulation * config.model.block_size
    plain = config.init is None and config.rl is None and config.parallel.mode == "none"
    return plain and can and tokens * flops_per_token >= EARNED.get(device.type, float("inf"))


RECOMPUTED = {"ban_recompute_used_far_apart": False, "ban_recompute_materialized_backward": False}
"""What torch's partitioner may form again in the backward pass in place of keeping it: casts, activations, norms."""


def compiled(forward: nn.Module, deterministic: bool, device: torch.device) -> Any:
    """``forward`` compiled for the shapes it meets; deterministic: no choice of kernels by the clock.

    On a CPU tanh is computed from exp, which vectorises four times as fast and is as exact as 1 + tanh needs; and
    between the passes less is kept, which takes no longer there: loops wait for memory.
    """
    options: dict[str, Any] = {"deterministic": deterministic, "cpp.use_decompose_tanh": True}
    kept = RECOMPUTED if device.type == "cpu" else {}

    def inductor(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        from torch._functorch import config  # with the compiler, for both take seconds to import
        from torch._inductor.compile_fx import compile_fx

        from gatewright.training.tied_gradient import TiedGradient

        with config.patch(kept):
            return compile_fx(graph, inputs, config_patches=options | {"post_grad_custom_post_pass": TiedGradient()})

    return torch.compile(forward, backend=inductor, dynamic=False)
