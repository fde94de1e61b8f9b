"""The whole configuration of a run, and its YAML form."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_type_hints

import yaml

from gatewright.config.data import DataConfig
from gatewright.config.knob import knob
from gatewright.config.model import ModelConfig
from gatewright.config.patch import PatchConfig
from gatewright.config.rl import RLConfig
from gatewright.config.train import ParallelConfig, TrainConfig
from gatewright.errors import UserError
from gatewright.reading import parse_yaml, read_text
from gatewright.schema import brief, check_keys, check_value

T = TypeVar("T")


@dataclass
class Config:
    """Everything `gatewright.train` needs; ``config.yaml`` of a run directory is this, written out."""

    model: ModelConfig = knob(ModelConfig(), "the architecture")
    data: DataConfig = knob(DataConfig(), "the text")
    train: TrainConfig = knob(TrainConfig(), "the optimisation")
    parallel: ParallelConfig = knob(ParallelConfig(), "the devices of one run")
    init: str | None = knob(None, "weights to start from: a run, a Hugging Face folder or name; null: fresh ones")
    patch: PatchConfig | None = knob(None, "gates put into the model of init")
    task: Any = knob(None, "learn a reasoning task instead of a text: its name, or {name: …, its knobs}")
    rl: RLConfig | None = knob(None, "reinforcement learning on task; null: supervised learning")
    plugins: dict[str, str] = knob({}, "files with parts: plugins=[my_gate.py]; recorded as {path: SHA-256}")
    out: str | None = knob(None, "run directory; null: runs/<architecture>-<time>")
    resume: Literal["never", "auto"] = knob("never", "auto: continue the run in out, if there is one")
    device: Literal["auto", "cpu", "cuda", "mps"] = knob("auto", "auto: cuda, else mps, else cpu")

    def validate(self) -> None:
        """Raise `UserError` for values that cannot be right whatever the parts are."""
        self.model.validate()
        self.data.validate()
        self.train.validate()
        for block in (self.patch, self.rl):
            if block is not None:
                block.validate()
        if self.task is not None and self.data.document_masking:
            raise UserError("data.document_masking is for text; a task's questions are not packed")
        if self.rl is not None and self.task is None:
            raise UserError("rl needs task=, what to learn")


def from_dict(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Build a configuration dataclass from nested mappings; unknown keys and wrong types raise `UserError`."""
    fields = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    check_keys(where, map(str, values), fields)
    hints = get_type_hints(cls)
    arguments = {}
    for name, value in values.items():
        key = f"{where}.{name}" if where else name
        choices = (hints[name], *get_args(hints[name]))  # a block, or a block or None
        block = next((c for c in choices if isinstance(c, type) and dataclasses.is_dataclass(c)), None)
        if block is not None and not (value is None and block is not hints[name]):
            if not isinstance(value, Mapping):
                raise UserError(f"{key}={brief(value)}: expected a block of keys")
            arguments[name] = from_dict(block, value, key)
        else:
            arguments[name] = check_value(key, value, hints[name])
    return cls(**arguments)


def to_yaml(config: Any) -> str:
    """A configuration dataclass as YAML, keys in declaration order."""
    return yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True)


def from_yaml(text: str) -> Config:
    """The `Config` that `to_yaml` wrote; `UserError` for anything else."""
    config = from_dict(Config, parse_yaml(text))
    config.validate()
    return config


def read_config(path: Path) -> Config:
    """The `Config` in a file; the `UserError` for anything else names it."""
    text = read_text(path)
    try:
        return from_yaml(text)
    except UserError as error:
        raise UserError(f"cannot read {path}: {error}") from error
