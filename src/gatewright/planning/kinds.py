"""Kinds of devices that a training can be planned for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml

from gatewright.errors import UserError, unknown
from gatewright.hardware.peaks import peak_table

SUSTAINED = 0.4
"""Assumed for kinds without measurements: a little less than the lowest of those that have them."""

GIB, GB, GBIT = 2**30, 1e9, 1e9 / 8


@dataclass(frozen=True)
class Kind:
    """A device as ``kinds.yaml`` describes it, in the file's units."""

    kind: str
    device: str
    """Its row in ``hardware/peaks.yaml``."""
    memory: float
    bandwidth: float
    link: float
    source: str
    network: float | None = None
    sustained: float | None = None
    measured: str = ""

    def peak(self, precision: str) -> float:
        """Dense FLOP/s in ``float32``, ``bf16`` or ``fp16``; `UserError` where the device has no such arithmetic."""
        (row,) = (row for row in peak_table() if row.device == self.device)
        rate = row.flops(precision)
        if rate is None:
            raise UserError(f"precision={precision}: kind={self.kind} has no {precision} arithmetic of its own")
        return rate


@cache
def kinds() -> dict[str, Kind]:
    """Every kind, by name."""
    text = files("gatewright.planning").joinpath("kinds.yaml").read_text(encoding="utf-8")
    return {row["kind"]: Kind(**row) for row in yaml.safe_load(text)}


def find_kind(name: str) -> Kind:
    """The kind of this name; `UserError` with the nearest one if there is none."""
    if name not in kinds():
        raise unknown("kind", name, kinds())
    return kinds()[name]
