"""When `torch.compile` is worth its time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from gatewright.config import Config
from gatewright.errors import UserError
from gatewright.hardware.compiler import cpp_compiler
from gatewright.training.recompute import blocks_of

EARNED = {"cpu": 1e13, "cuda": 2e16}
"""FLOPs of a run from which on it is compiled: a few minutes' worth, against the half or whole minute it takes."""


def resolve_compile(config: Config, device: torch.device, flops_per_token: float) -> Literal[True, False, "blocks"]:
    """What to compile in the run. `UserError` where that is asked for and there is no compiler.

    ``auto`` is the whole model or nothing. It leaves alone what was never meant to be compiled: reinforcement learning,
    models of transformers, and runs of several processes.
    """
    can = device.type != "cpu" or cpp_compiler() is not None
    wanted = config.train.compile
    if wanted in (True, "blocks") and not can:
        said = str(wanted).lower()
        raise UserError(f"train.compile={said} needs a C++ compiler (g++ or clang++, or the one named by $CXX)")
    if wanted != "auto":
        return wanted
    train = config.train
    tokens = train.max_steps * train.batch_size * train.grad_accumulation * config.model.block_size
    plain = config.init is None and config.rl is None and config.parallel.mode == "none"
    return plain and can and tokens * flops_per_token >= EARNED.get(device.type, float("inf"))


FORMS = 8
"""Compilations of one function that torch allows, as for training, for judging, and for a last, smaller batch."""
RECOMPUTED = {"ban_recompute_used_far_apart": False, "ban_recompute_materialized_backward": False}
"""What torch's partitioner may form again in the backward pass in place of keeping it: casts, activations, norms."""


def compiled(forward: nn.Module, deterministic: bool, device: torch.device) -> Any:
    """``forward`` compiled for the shapes it meets; deterministic: no choice of kernels by the clock."""
    return torch.compile(forward, backend=_inductor(deterministic, device), dynamic=False)


def compile_blocks(model: nn.Module, deterministic: bool, device: torch.device) -> None:
    """Compile the layers of ``model`` each by itself, in place: layers of one form are one compilation.

    What lies around them, the embedding and the head, stays as it is. Raises `UserError` if there are no layers.
    """
    blocks = blocks_of(model)
    if not blocks:
        raise UserError("train.compile=blocks: this model has no list of layers; use true or false")
    backend = _inductor(deterministic, device)  # one for all, or each would have a compilation of its own
    limit = FORMS * len(blocks)
    for block in blocks:  # and not what is called around a forward: a layer's weights may be gathered there
        block.forward = torch.compile(  # type: ignore[call-overload]  # torch's overloads know no recompile_limit
            block.forward, backend=backend, dynamic=False, recompile_limit=limit
        )


def _inductor(deterministic: bool, device: torch.device) -> Callable[[torch.fx.GraphModule, list[Tensor]], Any]:
    """Torch's compiler with our options.

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

    return inductor
