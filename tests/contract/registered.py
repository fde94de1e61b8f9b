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


def first_of_its_class(entry: Entry) -> bool:
    """Whether no part before it is the same class: units of a family differ in one activation."""
    family = [other for other in entries(entry.kind).values() if other.target is entry.target]
    return family[0] == entry


def fewer_cases(entry: Entry) -> list[Case]:
    """The defaults; all cases for one member of each family."""
    return all_cases(entry) if first_of_its_class(entry) else [Case(entry)]
