"""Who listened to whom, step by step: for people, and for pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gatewright.paths.rollout import Rollout
from gatewright.paths.text import text_of


@dataclass(frozen=True)
class Listening:
    """One path at one step, having heard somebody."""

    step: int
    path: int
    token: int
    blend_weight: float
    heard: dict[int, float]
    """The attention on each peer that has any."""


def who_heard_whom(rollout: Rollout, question: int = 0) -> list[Listening]:
    """Each time a path of this question heard somebody, in the order of steps and paths."""
    found = []
    weights, tokens = rollout.blend_weights[question].tolist(), rollout.tokens[question].tolist()
    for step, rows in zip(rollout.steps.tolist(), rollout.attention[:, question].tolist(), strict=True):
        for path, row in enumerate(rows):
            if weights[path][step] > 0:
                heard = {peer: weight for peer, weight in enumerate(row) if weight > 0}
                found.append(Listening(step, path, tokens[path][step], weights[path][step], heard))
    return found


def listening_table(rollout: Rollout, tokenizer: Any, question: int = 0) -> str:
    """The same as text: a line for each step at which anybody heard somebody, with tokens and the peer heard most.

    ``'7'<2`` says that a path drew 7 and heard path 2 most; ``'7'<*`` that it heard all of its peers alike.
    """
    text, lines = text_of(tokenizer), dict[int, list[str]]()
    tokens, lengths = rollout.tokens[question].tolist(), rollout.lengths[question].tolist()
    for one in who_heard_whom(rollout, question):
        drawn = [
            repr(text.decode([path[one.step]])) if one.step < n else "" for path, n in zip(tokens, lengths, strict=True)
        ]
        line = lines.setdefault(one.step, drawn)
        most, least = max(one.heard.values()), min(one.heard.values())
        alike = len(one.heard) > 1 and most - least < 1e-6
        line[one.path] += "<*" if alike else f"<{max(one.heard, key=one.heard.__getitem__)}"
    widths = [max(map(len, column)) for column in zip(*lines.values(), strict=True)]
    return "\n".join(
        f"{step:>5}  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for step, line in lines.items()
    )
