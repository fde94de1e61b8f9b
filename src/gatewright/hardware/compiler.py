"""Whether torch.compile has what it needs here."""

from __future__ import annotations

import os
import shutil


def cpp_compiler() -> str | None:
    """The C++ compiler that torch.compile would find: ``$CXX``, g++, clang++ or (on Windows) cl."""
    candidates = (os.environ.get("CXX"), "g++", "clang++", "cl")
    return next((found for name in candidates if name and (found := shutil.which(name))), None)
