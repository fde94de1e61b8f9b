"""What one trial is given of a machine or a cluster."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

from gatewright.errors import UserError
from gatewright.schema import check_keys

UNITS = {"MB": 2**20, "GB": 2**30, "TB": 2**40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|TB)", re.IGNORECASE)


@dataclass(frozen=True)
class Resources:
    """A trial's share; what is None is left to the machine or the cluster."""

    cpus: int | None = None
    """cores, and so threads"""
    gpus: int | None = None
    """0 or 1: a trial is one process, which uses one"""
    memory: int | None = None
    """bytes"""
    time: float | None = None
    """seconds until the cluster may end it; it saves before and is queued again"""
    partition: str | None = None
    """the queue of SLURM it waits in"""

    def only(self, launcher: str, *known: str) -> None:
        """Raise `UserError` for anything that ``launcher`` cannot give."""
        for key in (field.name for field in fields(self)):
            if key not in known and getattr(self, key) is not None:
                raise UserError(f"resources: launcher {launcher} cannot give '{key}', only {', '.join(known)}")


def parse_resources(text: str) -> Resources:
    """``cpus=4,gpus=1,memory=16GB,time=2h,partition=short`` as `Resources`; `UserError` names what is wrong.

    MB, GB and TB are powers of 1,024, as SLURM reads them.
    """
    values: dict[str, str] = {}
    for entry in (part.strip() for part in text.split(",")):
        key, equals, value = entry.partition("=")
        if not equals or not value.strip():
            raise UserError(f"resources: '{entry}' is not KEY=VALUE, such as cpus=4,gpus=1,memory=16GB")
        if key.strip() in values:
            raise UserError(f"resources: '{key.strip()}' is given twice")
        values[key.strip()] = value.strip()
    check_keys("resources", values, [field.name for field in fields(Resources)])
    return Resources(
        cpus=_count("cpus", values["cpus"], least=1) if "cpus" in values else None,
        gpus=_count("gpus", values["gpus"], least=0, most=1) if "gpus" in values else None,
        memory=_bytes(values["memory"]) if "memory" in values else None,
        time=_seconds(values["time"]) if "time" in values else None,
        partition=values.get("partition"),
    )


def _count(key: str, text: str, least: int, most: int | None = None) -> int:
    if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        wanted = f"{least} or more" if most is None else f"{least} or {most}, since a trial is one process"
        raise UserError(f"resources: {key}={text}: expected {wanted}")
    return int(text)


def _bytes(text: str) -> int:
    found = SIZE.fullmatch(text)
    size = 0 if found is None else int(float(found[1]) * UNITS[found[2].upper()])
    if size < UNITS["MB"]:
        raise UserError(f"resources: memory={text}: expected a size such as 16GB or 512MB")
    return size


def _seconds(text: str) -> float:
    from gatewright.study.budget import parse_duration

    return parse_duration(text, "resources: time")
