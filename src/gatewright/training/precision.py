"""float32, bf16 and fp16 training: which arithmetic the forward pass uses, and the loss scaling fp16 needs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from gatewright.errors import UserError
from gatewright.hardware.device import native_bf16

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Weights, gradients and optimizer state stay in float32; autocast chooses the arithmetic of the forward pass.

    ``name`` is ``float32``, ``bf16`` or ``fp16``. Under fp16 gradients below 6e-8 would vanish, so the loss is scaled
    up before the backward pass by ``scaler`` (Micikevicius et al., 2018, arXiv:1710.03740); otherwise the scaler is
    disabled and passes everything through.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.name = name
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")

    def autocast(self) -> AbstractContextManager[None]:
        """The context a forward pass runs in."""
        if self.name == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=AUTOCAST[self.name])


def resolve_precision(requested: str, device: torch.device) -> str:
    """``auto`` becomes bf16 where the hardware computes in it natively, else float32; `UserError` for fp16 off CUDA."""
    if requested == "auto":
        return "bf16" if native_bf16(device) else "float32"
    if requested == "fp16" and device.type != "cuda":
        raise UserError(f"train.precision=fp16 needs device=cuda (here: {device.type}); use bf16, auto or float32")
    return requested
