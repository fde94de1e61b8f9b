"""Loops in C++ for a CPU, built with the machine's compiler when they are first needed and kept in the cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import subprocess
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any

from gatewright.cache import cache_root
from gatewright.hardware.compiler import cpp_compiler

FLAGS = ("-O3", "-march=native", "-fno-math-errno", "-fopenmp", "-shared", "-fPIC")
PATIENCE = 120.0
POINTER, INDEX, SWITCH = ctypes.c_void_p, ctypes.c_int64, ctypes.c_bool
"""Types of arguments."""


@cache
def native(name: str) -> ctypes.CDLL | None:
    """The library made from ``name.cpp`` beside this file; None where there is no compiler for it, or no Linux.

    It is built for the processor it is built on, and so kept for each machine by itself. If the compiler fails, a
    warning says why, and None is returned.
    """
    compiler = cpp_compiler()
    if compiler is None or sys.platform != "linux":
        return None
    source = Path(__file__).with_name(f"{name}.cpp")
    facts = (source.read_text(encoding="utf-8"), compiler, *FLAGS, platform.node(), platform.machine())
    digest = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
    library = cache_root() / "native" / f"{name}-{digest}.so"
    if not library.is_file():
        library.parent.mkdir(parents=True, exist_ok=True)
        unfinished = library.with_name(f".{library.name}.{os.getpid()}")
        try:
            subprocess.run(
                [compiler, *FLAGS, str(source), "-o", str(unfinished)],
                check=True, capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip
            unfinished.replace(library)
        except (OSError, subprocess.SubprocessError) as error:
            unfinished.unlink(missing_ok=True)
            said = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[0]
            warnings.warn(f"{source.name} could not be built, a slower way is taken ({said})", stacklevel=2)
            return None
    return ctypes.CDLL(str(library))


@cache
def native_function(library: str, name: str, *types: Any) -> Any:
    """A function of a `native` library that is there; it takes arguments of these types and returns nothing."""
    found = native(library)
    assert found is not None, f"there is no {library}: ask native() first"
    function = found[name]
    function.argtypes, function.restype = types, None
    return function
