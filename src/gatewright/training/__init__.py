"""Training: one loop, whose every step is a pure function of weights, optimizer memory and the step's number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gatewright.training.start import train

__all__ = ["train"]


def __getattr__(name: str) -> Any:
    """Import `train` when it is asked for: reading a run directory uses this package too, and needs no PyTorch."""
    if name != "train":
        raise AttributeError(f"module 'gatewright.training' has no attribute '{name}'")
    from gatewright.training.start import train

    return train
