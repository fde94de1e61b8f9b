"""What a plan is asked for: words such as ``gpus=64 kind=h100``, beside those that choose the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from gatewright.config import ModelConfig, from_dict, load_config
from gatewright.config.knob import knob
from gatewright.errors import UserError
from gatewright.planning.kinds import find_kind
from gatewright.schema import check_keys

Mode = Literal["none", "ddp", "zero1", "fsdp2"]
Recompute = Literal["none", "feedforward", "blocks"]

ELSEWHERE = ("model", "plugins")
"""Words that are not the plan's but the configuration's."""


@dataclass
class PlanRequest:
    """The machine, how it is used, and how long."""

    gpus: int = knob(1, "devices")
    kind: str = knob("h100", "kind of device")
    mode: Mode | None = knob(None, "how one run is spread; null: the simplest that fits")
    recompute: Recompute | None = knob(None, "what is computed again in the backward pass; null: the least")
    precision: Literal["float32", "bf16", "fp16"] = knob("bf16", "arithmetic of forward and backward pass")
    batch_tokens: float | None = knob(None, "tokens of an optimizer step, all devices together; null: half a million")
    micro_batch: int | None = knob(None, "sequences a device takes at once; null: as many as fit")
    tokens: float | None = knob(None, "length of the training; null: what is best for the model's size")
    days: float | None = knob(None, "length of the training, given as time")
    flops: float | None = knob(None, "length of the training, given as a compute budget C = 6ND")
    mfu: float | None = knob(None, "share of the peak that is reached; null: derived from the rest")
    per_node: int = knob(8, "devices in a node")
    network: float | None = knob(None, "Gbit/s between nodes, a device; null: that of the maker's own system")

    def validate(self) -> None:
        """Raise `UserError` for what no plan can have."""
        kind = find_kind(self.kind)
        for name in ("gpus", "per_node", "micro_batch"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"{name}={value}: must be at least 1")
        for name in ("batch_tokens", "tokens", "days", "flops", "mfu", "network"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"{name}={value}: must be positive")
        if self.mfu is not None and self.mfu > 1:
            raise UserError(f"mfu={self.mfu}: a share of the peak, at most 1")
        lengths = [name for name in ("tokens", "days", "flops") if getattr(self, name) is not None]
        if len(lengths) > 1:
            raise UserError(f"{lengths[0]} and {lengths[1]} both say how long the training is; give one of them")
        if self.mode == "none" and self.gpus > 1:
            raise UserError(f"mode=none is one process on one device, but gpus={self.gpus}; use ddp, zero1 or fsdp2")
        if self.gpus > self.per_node and self.network is None and kind.network is None:
            raise UserError(
                f"gpus={self.gpus} of kind={self.kind} are more than one node of {self.per_node}, and there is no "
                "usual network for them: add network=GBIT (Gbit/s a device)"
            )


def read_request(words: Iterable[str], config_file: Path | None = None) -> tuple[PlanRequest, ModelConfig]:
    """The request and the model that command-line words ask for; `UserError` for anything unknown or impossible.

    ``model=…``, ``model.…`` and ``plugins=…`` are overrides in Hydra's grammar, and with ``config_file`` change the
    model of that file; all other words are keys of `PlanRequest`.
    """
    own, elsewhere = {}, []
    known = {field.name for field in dataclasses.fields(PlanRequest)}
    for word in words:
        key = word.partition("=")[0]
        name, dot, _ = key.partition(".")
        if name in ELSEWHERE:
            elsewhere.append(word)
        elif name in known:
            check_keys("", [key], known)
            own[key] = _value(word)
        else:
            check_keys("", [name], ELSEWHERE if dot else (*ELSEWHERE, *known))
    request = from_dict(PlanRequest, own)
    request.validate()
    return request, load_config(elsewhere, config_file).model


def _value(word: str) -> Any:
    try:
        override = OverridesParser.create().parse_override(word)
    except HydraException as error:
        raise UserError(f"cannot read '{word}' (expected key=value): {str(error).splitlines()[0]}") from error
    if override.is_sweep_override():
        raise UserError(f"'{word}' is a sweep; a plan takes one value")
    return override.value()
