"""Everything that is registered, as parameters of tests, and how thoroughly each of it is run through slow lines."""

from __future__ import annotations

from gatewright.contract import Case, cases
from gatewright.registry import KINDS, Entry, entries

PARTS = [entry for kind in KINDS for entry in entries(kind).values()]
MODULES = [entry for entry in PARTS if entry.kind != "init"]


def name_of(entry: Entry) -> str:
    return f"{entry.kind}-{entry.name}"


def all_cases(entry: Entry) -> list[Case]:
    return list(cases(entry)) if entry.kind != "init" else [Case(entry)]


def stands_for_others(entry: Entry) -> bool:
    """Whether no later part of its kind runs the same ``forward``: units differ in φ, attentions in their kernel."""
    family = [other for other in entries(entry.kind).values() if other.target.forward is entry.target.forward]
    return family[-1] == entry


def fewer_cases(entry: Entry) -> list[Case]:
    """The defaults; all cases for one of the parts that share a ``forward``."""
    return all_cases(entry) if entry.kind == "init" or stands_for_others(entry) else [Case(entry)]
