"""What a study's runs learn from, as far as judging and drawing them depends on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Designs = Mapping[str, Mapping[str, Any]]
"""Every arm's resolved design, flat, by dotted keys."""


def learns_task(designs: Designs) -> bool:
    """Whether any arm learns a task: its steps then have as many tokens as its questions and answers happen to have."""
    return any(design.get("task") is not None or "task.name" in design for design in designs.values())


def is_rewarded(designs: Designs) -> bool:
    """Whether any arm learns from rewards."""
    return any("rl.paths" in design for design in designs.values())


def similarity_of(design: Mapping[str, Any]) -> str | None:
    """The name of what decides whom a path hears; None where there are no paths."""
    if "rl.paths" not in design:
        return None
    return str(design.get("rl.similarity") or design.get("rl.similarity.name"))


def has_shuffled_rewards(design: Mapping[str, Any]) -> bool:
    """Whether an arm is the control that learns from rewards that are not its paths' own."""
    return bool(design.get("rl.shuffle_rewards"))
