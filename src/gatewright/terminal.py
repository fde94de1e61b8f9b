"""The terminal, on which text that came from elsewhere is shown and never acts."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves cursors, changes titles, rings, or turns the direction of writing round."""


def visible(text: str) -> str:
    """``text`` with a dot in place of everything that a terminal would obey instead of showing it."""
    return ACTING.sub("·", text)


class Terminal(Console):
    """A rich console that shows control characters in names, messages and generated text as dots.

    Colours and cursor movements of our own are styles and control segments, which are left alone.
    """

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Rich's segments, their text made harmless."""
        for segment in super().render(renderable, options):
            harmless = segment.control or not ACTING.search(segment.text)
            yield segment if harmless else Segment(visible(segment.text), segment.style)
