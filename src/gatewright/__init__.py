"""Gatewright: train competing designs of gated language models under equal conditions, and say which is better.

import gatewright as gw

config = gw.load_config(["model=small", "model.feedforward=paglu", "model.alpha=learnable", "out=runs/first"])
print(gw.architecture_name(config.model), gw.cost(config.model).parameters)
run = gw.train(config)
print(run.summary["best_val_loss"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.hf.registration import install
from gatewright.lazy import lazy_names

if TYPE_CHECKING:
    from gatewright import paths
    from gatewright.config import Config, ModelConfig, load_config
    from gatewright.errors import RunError, UserError
    from gatewright.model import architecture_name, build, cost, match_model
    from gatewright.model.generate import generate
    from gatewright.parts.gates.unit import make_gate
    from gatewright.paths.make import make_similarity
    from gatewright.registry import list_parts, register
    from gatewright.run import Run
    from gatewright.surgery import freeze_alpha, load_patched, patch, set_step, unpatch
    from gatewright.training import train

_HOME = {
    "Config": "gatewright.config",
    "ModelConfig": "gatewright.config",
    "load_config": "gatewright.config",
    "RunError": "gatewright.errors",
    "UserError": "gatewright.errors",
    "architecture_name": "gatewright.model",
    "build": "gatewright.model",
    "cost": "gatewright.model",
    "match_model": "gatewright.model",
    "generate": "gatewright.model.generate",
    "make_gate": "gatewright.parts.gates.unit",
    "make_similarity": "gatewright.paths.make",
    "paths": "gatewright.paths",
    "list_parts": "gatewright.registry",
    "register": "gatewright.registry",
    "Run": "gatewright.run",
    "freeze_alpha": "gatewright.surgery",
    "load_patched": "gatewright.surgery",
    "patch": "gatewright.surgery",
    "set_step": "gatewright.surgery",
    "unpatch": "gatewright.surgery",
    "train": "gatewright.training",
}

__version__ = "0.1.0.dev0"
__all__ = [
    "Config",
    "ModelConfig",
    "Run",
    "RunError",
    "UserError",
    "architecture_name",
    "build",
    "cost",
    "freeze_alpha",
    "generate",
    "list_parts",
    "load_config",
    "load_patched",
    "make_gate",
    "make_similarity",
    "match_model",
    "patch",
    "paths",
    "register",
    "set_step",
    "train",
    "unpatch",
]

__getattr__, __dir__ = lazy_names(__name__, _HOME)

install()
