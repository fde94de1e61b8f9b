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


def graph_cases(entry: Entry) -> list[Case]:
    """What is compiled and exported: the defaults, and settings that change the graph.

    Feed-forwards that share a block differ in their gate, which is taken by itself; attentions differ in their kernel,
    and their last setting has all the others in it; a scheduled α has one graph whatever its course.
    """
    every = all_cases(entry)
    if entry.kind == "feedforward":
        return every[:1] if stands_for_others(entry) else []
    if entry.kind == "attention" and stands_for_others(entry):
        return [every[0], every[-1]]
    if entry.kind == "gate" and stands_for_others(entry):
        return every
    return every if entry.kind == "alpha" and entry.name != "scheduled" else every[:1]


def cases_in_models(entry: Entry) -> list[Case]:
    """What is put into whole models: the defaults, and settings that reach beyond the part.

    Gates are met as the feed-forwards of their names; as gates only the forms are left, on one of them. Similarities
    are no part of a model.
    """
    if entry.kind == "similarity":
        return []
    if entry.kind == "gate":
        return all_cases(entry) if stands_for_others(entry) else []
    thorough = entry.kind == "attention" and stands_for_others(entry)
    return all_cases(entry) if thorough else [Case(entry)]
