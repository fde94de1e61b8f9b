"""Making Gatewright's models known to transformers, whenever transformers comes to be imported.

transformers asks no entry point for the models of other packages: somebody has to call ``AutoConfig.register`` and
``AutoModelForCausalLM.register``. Doing so in ``import gatewright`` would import transformers and PyTorch for everyone.
So a finder waits in ``sys.meta_path`` for the two modules that hold those classes, lets Python import them as ever, and
imports ours, which register themselves, right behind.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

FOLLOWERS = {
    "transformers.models.auto.configuration_auto": "gatewright.hf.configuration",
    "transformers.models.auto.modeling_auto": "gatewright.hf.modeling",
}
"""A module of transformers, and the one of ours that registers itself with it."""


class Registration:
    """The finder: a module in `FOLLOWERS` is found where it always was, and followed by ours when it has been run."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """What Python's own finder says, with a loader that imports the follower too; None for all other modules."""
        if name not in FOLLOWERS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_both(module: ModuleType) -> None:
            run(module)
            try:
                import_module(FOLLOWERS[name])
            except ImportError as error:  # a transformers too old for us still is one for others
                warnings.warn(f"Gatewright's models are unknown to this transformers: {error}", stacklevel=2)

        spec.loader.exec_module = run_both  # type: ignore[method-assign]
        return spec


def install() -> None:
    """Register now with what transformers has imported already, and with the rest when it is imported."""
    if Registration not in sys.meta_path:
        sys.meta_path.insert(0, Registration)
    for name, ours in FOLLOWERS.items():
        if name in sys.modules:
            import_module(ours)
