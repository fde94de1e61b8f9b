"""A small mixture of experts, with weights large enough that its experts disagree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from gatewright.parts.feedforward.moe import MoE
from gatewright.parts.part import Dims
from gatewright.registry import create

MakeMoE = Callable[..., MoE]


@pytest.fixture
def make_moe() -> MakeMoE:
    """``make_moe(expert=…, top_k=…, …)``: D = 12, experts of width 20, 4 of them unless told."""
    torch.set_num_threads(1)

    def make(
        *, hidden: int = 20, dtype: torch.dtype = torch.float32, context: dict[str, Any] | None = None, **knobs: Any
    ) -> MoE:
        spec = {"name": "moe", "n_experts": 4, **knobs}
        moe: MoE = create("feedforward", spec, Dims(12, bias=True), hidden=hidden, **(context or {}))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, parameter in moe.named_parameters():
                if "alpha" not in name:
                    parameter.copy_(torch.empty_like(parameter).normal_(0.0, 0.5, generator=generator))
        return moe.to(dtype)

    return make
