"""A model of ours as the ``config.json`` of a Hugging Face folder; no transformers needed to write one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gatewright.config.model import ModelConfig
from gatewright.reading import read_json_object

MODEL_TYPE = "gatewright"
ARCHITECTURE = "GatewrightForCausalLM"


def describe(config: ModelConfig, plugins: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The content of ``config.json``: the keys of ``model`` in our configuration, and what transformers looks for.

    ``plugins`` are the files that parts were taken from, by path, with their SHA-256. The folders they lay in stay
    private, and nothing in the file makes anyone execute them.
    """
    names = {Path(path).name: content for path, content in (plugins or {}).items()}
    described = {"model_type": MODEL_TYPE, "architectures": [ARCHITECTURE], **asdict(config)}
    return described | ({"plugins": names} if names else {})


def is_ours(folder: Path) -> bool:
    """Whether the model saved in ``folder`` is one of ours, and none of transformers' own; `UserError` for neither."""
    path = folder / "config.json"
    return not path.is_file() or bool(read_json_object(path).get("model_type") == MODEL_TYPE)
