"""The page of faults, made of what the tests saw."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

PAGE = """<!-- written by `make faults` from what its tests saw: change these, not the page -->

# Faults

What happens when things go wrong. Each row is a test in `tests/faults/`: a real process that is really killed, a disk
that is really full, a file that is really damaged. It fails unless the message is there, finished work is as it was
byte for byte, and continuing gives the numbers of a run that nothing disturbed, bit for bit. `make faults` runs them
all and writes this page from what they saw.

| fault | what you see | what is lost | how it goes on |
| --- | --- | --- | --- |
{rows}

"Again" is the same command once more, with `resume=auto` where it is `gatewright train`.
"""


@dataclass
class Table:
    """The rows that tests have seen to be true, in the order of the tests."""

    rows: dict[str, tuple[str, str, str]] = field(default_factory=dict)

    def row(self, fault: str) -> str:
        """As a line of Markdown."""
        return f"| {' | '.join(map(_cell, (fault, *self.rows[fault])))} |"

    def page(self) -> str:
        """As Markdown."""
        return PAGE.format(rows="\n".join(map(self.row, self.rows)))


@dataclass(frozen=True)
class Seen:
    """Enters what a test saw into the table; places of this machine are left out."""

    table: Table
    places: dict[str, str]
    page: str | None
    """The page as it is, which has to say the same; None where it is being written."""

    def __call__(self, fault: str, message: str, *, lost: str, then: str) -> None:
        for place, name in self.places.items():
            message = message.replace(place, name)
        message = re.sub(r"files-char-[0-9a-f]+", "files-char-…", message)
        self.table.rows[fault] = (message.strip("()") if message.startswith("(") else f"`{message}`", lost, then)
        row = self.table.row(fault)
        assert self.page is None or row in self.page.splitlines(), f"make faults: docs/faults.md lacks\n{row}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
