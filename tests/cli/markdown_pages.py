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
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
PARSER = MarkdownIt("commonmark").enable("table")
COMMENT = re.compile(r"<!-- (not run|file): (.+?) -->")
HARMLESS = ("#", "cd ", "git ", "pip ", "source ")
"""Beginnings of lines in ``bash`` blocks that set a reader up and are not run."""

ONE_PROCESS = """
import contextlib, shlex, sys
from gatewright.cli import main

def run(where, language, text):
    print(f"--- {where}: {text}", flush=True)
    if language == "python":
        exec(compile(text, where, "exec"), {"__name__": "__main__"})
        return
    command, _, file = text.partition(" > ")
    sys.argv = shlex.split(command)
    with contextlib.ExitStack() as stack:
        if file:
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(open(file, "w"))))
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, f"{where}: exit status {stop.code}: {text}"
"""
"""Runs commands and programs one after another in one interpreter: starting one costs more than most commands."""


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


class Step(NamedTuple):
    """Something to be run: where it stands, ``bash`` or ``python``, and the command line or program."""

    where: str
    language: str
    text: str


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


def steps(page: Path) -> list[Step]:
    """What a page asks to be run. Targets of make must exist, and a line that is no known command is an error."""
    found = []
    for block in blocks(page):
        where = f"{page.name}, line {block.line}"
        if block.order:
            continue
        if block.language == "python":
            found.append(Step(where, "python", block.text))
        for command in block.commands if block.language == "bash" else ():
            if command.startswith("gatewright "):
                found.append(Step(where, "bash", command))
            elif command.startswith("make "):
                call = ["make", "--dry-run", "--directory", str(ROOT), command.split()[1]]
                assert subprocess.run(call, capture_output=True, check=False).returncode == 0, f"{where}: {command}"
            else:
                assert command.startswith(HARMLESS), f"{where}: the tests do not know what to do with '{command}'"
    return found


def write_files(page: Path, folder: Path) -> None:
    """Write the blocks that a page says are files."""
    for block in blocks(page):
        if block.order == "file":
            path = folder / block.argument
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")


def run_page(page: Path, folder: Path, cache: Path, *, one_process: bool = False) -> int:
    """Run a page in ``folder``, each step in a process of its own or all in one; returns how many steps there were."""
    found = steps(page)
    write_files(page, folder)
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(folder),
        "OMP_NUM_THREADS": "1",
        "GATEWRIGHT_CACHE": str(cache),
        "HF_DATASETS_CACHE": str(cache / "datasets"),
    }
    python = [sys.executable, "-c"]
    if one_process:
        calls = [[*python, "\n".join([ONE_PROCESS, *(f"run(*{tuple(step)!r})" for step in found)])]]
    else:
        shell = ["bash", "-euo", "pipefail", "-c"]
        calls = [[*(shell if step.language == "bash" else python), step.text] for step in found]
    for call in calls:
        done = subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        shown = "" if one_process else f"{call[-1]}\n"
        assert done.returncode == 0, f"{page.name}: {shown}{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return len(found)
