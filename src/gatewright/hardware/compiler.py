"""Whether torch.compile has what it needs here."""

from __future__ import annotations

import os
import shutil

import torch

from gatewright.errors import UserError


def cpp_compiler() -> str | None:
    """The C++ compiler that torch.compile would find: ``$CXX``, g++, clang++ or (on Windows) cl."""
    candidates = (os.environ.get("CXX"), "g++", "clang++", "cl")
    return next((found for name in candidates if name and (found := shutil.which(name))), None)


def check_compiler(device: torch.device) -> None:
    """torch.compile writes C++ for the CPU; `UserError` when there is no compiler to take it."""
    if device.type == "cpu" and cpp_compiler() is None:
        raise UserError("train.compile=true needs a C++ compiler (g++ or clang++, or the one named by $CXX)")
