"""The width at which something costs what it should."""

from __future__ import annotations

from collections.abc import Callable


def solve_width(cost_at: Callable[[int], int], target: int, multiple_of: int) -> int:
    """The multiple of ``multiple_of`` whose cost comes nearest to ``target``.

    ``cost_at`` grows with the width, and nearly in proportion: a straight line through two widths lands next to the
    answer, and walking finds it.
    """
    step = multiple_of
    slope = max(1, (cost_at(2 * step) - cost_at(step)))
    width = max(1, 1 + round((target - cost_at(step)) / slope)) * step
    while width > step and abs(cost_at(width - step) - target) < abs(cost_at(width) - target):
        width -= step
    while abs(cost_at(width + step) - target) < abs(cost_at(width) - target):
        width += step
    return width
