"""A small text for the tests of commands."""

from __future__ import annotations

from pathlib import Path


def write_chapters(folder: Path) -> None:
    """Eight documents in the new folder ``corpus`` of ``folder``."""
    (folder / "corpus").mkdir()
    for number in range(8):
        text = f"Chapter {number}. " + "The gate is open, the gate is shut. " * 40
        (folder / "corpus" / f"{number}.txt").write_text(text)
