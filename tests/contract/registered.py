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


def chosen_cases(entry: Entry) -> list[Case]:
    """What is compiled, exported and put into models: the defaults, and settings that change the graph.

    A gate is there as the feed-forward of its name, so that as a gate only the forms are left to try, on one unit;
    attentions differ in their kernel alone; a scheduled α has one graph whatever its course.
    """
    if entry.kind == "gate":
        return all_cases(entry) if stands_for_others(entry) else []
    thorough = entry.kind == "alpha" or (entry.kind == "attention" and stands_for_others(entry))
    return all_cases(entry) if thorough and entry.name != "scheduled" else [Case(entry)]


CHOSEN = [entry for entry in PARTS if chosen_cases(entry)]
"""Every part but the gates that are met as feed-forwards."""
