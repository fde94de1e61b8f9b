"""A thing to be said about a study before its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gatewright.run import Run
from gatewright.study.gather import ArmResult


@dataclass(frozen=True)
class Remark:
    """A warning (the claim may not hold) or a note (the reader should know), with a stable code."""

    level: Literal["warning", "note"]
    code: str
    text: str


def usable_runs(arms: Mapping[str, ArmResult]) -> list[Run]:
    """The runs that have a value."""
    return [t.run for arm in arms.values() for t in arm.trials if t.run is not None and t.value is not None]
