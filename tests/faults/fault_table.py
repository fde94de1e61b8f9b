"""The page of faults, made of what the tests saw."""

from __future__ import annotations

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

    def page(self) -> str:
        """As Markdown."""
        rows = [(fault, *cells) for fault, cells in self.rows.items()]
        return PAGE.format(rows="\n".join(f"| {' | '.join(map(_cell, row))} |" for row in rows))


@dataclass(frozen=True)
class Seen:
    """Enters what a test saw into the table; places of this machine are left out."""

    table: Table
    places: dict[str, str]

    def __call__(self, fault: str, message: str, *, lost: str, then: str) -> None:
        for place, name in self.places.items():
            message = message.replace(place, name)
        self.table.rows[fault] = (f"`{message}`", lost, then)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
