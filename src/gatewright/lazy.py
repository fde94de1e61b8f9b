"""Names and libraries that are imported when they are first used: a light command need not wait for a heavy library."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of ``package`` (PEP 562), whose public names are at home in the modules given.
    A module of the package is its own home.

    ``__getattr__, __dir__ = lazy_names(__name__, {"name": "package.module"})``
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        home = importlib.import_module(homes[name])
        return home if homes[name] == f"{package}.{name}" else getattr(home, name)

    return find, lambda: sorted(homes)


class LazyModule:
    """Stands for a library until one of its names is asked for, which imports it.

    ``stats = LazyModule("scipy.stats")``, with the true import under ``TYPE_CHECKING`` beside it.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
