"""Our Markdown pages as tests see them: fenced blocks, links, headings, and the commands in them, which are run.

A page is run from top to bottom in an empty folder: ``bash`` blocks line by line, ``python`` blocks whole. A comment in
front of a block changes that: ``<!-- not run: reason -->`` leaves it out, ``<!-- file: name -->`` writes it to a file.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PARSER = MarkdownIt("commonmark").enable("table")
COMMENT = re.compile(r"<!-- (not run|file): (.+?) -->")
HARMLESS = ("#", "cd ", "git ", "pip ", "source ")
"""Beginnings of lines in ``bash`` blocks that set a reader up and are not run."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line it begins at, and what the comment in front of it says."""

    language: str
    text: str
    line: int
    order: str = ""
    argument: str = ""

    @property
    def commands(self) -> list[str]:
        """The lines of a ``bash`` block, those continued with a backslash joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if line.strip()]


def tokens(page: Path) -> list[Token]:
    """The page, parsed."""
    return PARSER.parse(page.read_text(encoding="utf-8"))


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks, in order."""
    comment = None
    for token in tokens(page):
        if token.type == "fence":
            assert token.map is not None
            order, argument = comment.groups() if comment else ("", "")
            yield Block(token.info, token.content, token.map[0] + 1, order, argument)
        comment = COMMENT.match(token.content) if token.type == "html_block" else None


def links(page: Path) -> list[str]:
    """The targets of all links and images."""
    inline = [child for token in tokens(page) for child in token.children or []]
    targets = [token.attrGet("href") or token.attrGet("src") for token in inline]
    return [str(target) for target in targets if target]


def anchors(page: Path) -> set[str]:
    """The names by which headings can be linked to, as GitHub makes them."""
    titles = [after.content for token, after in pairwise(tokens(page)) if token.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def run_page(page: Path, folder: Path, cache: Path) -> int:
    """Run a page in ``folder``; returns how many commands and programs were run, and fails at the first that fails."""
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "GATEWRIGHT_CACHE": str(cache),
    }

    def run(where: str, command: list[str]) -> None:
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{where}: {command[-1]}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"

    count = 0
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.order == "file":
            path = folder / block.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.order == "not run":
            continue
        elif block.language == "python":
            run(where, [sys.executable, "-c", block.text])
            count += 1
        elif block.language == "bash":
            for command in block.commands:
                if command.startswith("make "):
                    target = command.split()[1]
                    run(where, ["make", "--dry-run", "--directory", str(ROOT), target])
                elif command.startswith("gatewright "):
                    run(where, ["bash", "-euo", "pipefail", "-c", command])
                    count += 1
                else:
                    assert command.startswith(HARMLESS), f"{where}: the tests do not know what to do with '{command}'"
    return count
