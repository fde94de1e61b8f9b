"""Hugging Face, both ways: our models as theirs, theirs as ours, and folders that either side opens.

After ``import gatewright``, ``AutoModelForCausalLM.from_pretrained`` opens a folder that `save` wrote, and a checkpoint
of a run. Nothing here imports transformers before it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.lazy import lazy_names

if TYPE_CHECKING:
    from gatewright.hf.configuration import GatewrightConfig
    from gatewright.hf.convert import from_hf, to_hf
    from gatewright.hf.folder import save
    from gatewright.hf.modeling import GatewrightForCausalLM

_HOME = {
    "GatewrightConfig": "gatewright.hf.configuration",
    "GatewrightForCausalLM": "gatewright.hf.modeling",
    "from_hf": "gatewright.hf.convert",
    "save": "gatewright.hf.folder",
    "to_hf": "gatewright.hf.convert",
}

__all__ = ["GatewrightConfig", "GatewrightForCausalLM", "from_hf", "save", "to_hf"]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
