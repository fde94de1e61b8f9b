"""Peak FLOP/s of accelerators: what a model FLOPs utilisation (MFU) is a share of.

The figures stand in ``peaks.yaml``, each with where it comes from. A device that is not there has no peak here, and its
MFU is null: a guess would make runs look better or worse than they are. CPUs are measured instead
(`gatewright.hardware.measure`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import yaml


@dataclass(frozen=True)
class PeakRow:
    """Dense peak rates of one device in TFLOP/s; None where it has no such arithmetic or no figure is published."""

    device: str
    pattern: str
    float32: float | None
    tf32: float | None
    bf16: float | None
    fp16: float | None
    source: str

    def flops(self, precision: str) -> float | None:
        """FLOP/s in ``float32``, ``tf32``, ``bf16`` or ``fp16``."""
        rates = {"float32": self.float32, "tf32": self.tf32, "bf16": self.bf16, "fp16": self.fp16}
        rate = rates[precision]
        return None if rate is None else rate * 1e12


@cache
def peak_table() -> tuple[PeakRow, ...]:
    """Every device with a known peak, in the order in which names are matched."""
    text = files("gatewright.hardware").joinpath("peaks.yaml").read_text(encoding="utf-8")
    return tuple(PeakRow(**row) for row in yaml.safe_load(text))


def find_peak(name: str) -> PeakRow | None:
    """The table's row for a device of this name, or None: an unknown device is never taken for another one."""
    return next((row for row in peak_table() if re.search(row.pattern, name, re.IGNORECASE)), None)
