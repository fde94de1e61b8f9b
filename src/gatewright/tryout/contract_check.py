"""The contract of one part, line by line in the terminal."""

from __future__ import annotations

import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewright.contract import MODEL, Verdict, verify
from gatewright.plugins import Plugin
from gatewright.registry import Entry

LONGEST_REASON = 500
MARKS = {"kept": ("✓", "green"), "broken": ("✗", "bold red"), "unchecked": ("–", "yellow")}


@dataclass(frozen=True)
class Fault:
    """A broken line: its name, the case in which it broke, and what was seen."""

    line: str
    case: str
    seen: str


def check_contract(entry: Entry, plugin: Plugin, console: Console) -> list[Fault]:
    """Hold ``entry`` to its contract, printing each line as it is checked; returns the faults."""
    console.print(Text(f"\nThe contract of {entry.kind} '{entry.name}'", style="bold"))
    faults: list[Fault] = []
    checked = 0
    with console.status("checking"), _quiet():
        for verdict in verify(entry):
            checked += 1
            fault = _fault(verdict, plugin)
            console.print(_row(verdict))
            if fault is not None:
                known = any(fault.seen == other.seen for other in faults)
                console.print(Text(f"  {fault.case}: {'as above' if known else fault.seen}", "red"), soft_wrap=True)
                faults.append(fault)
            elif verdict.unchecked is not None:
                console.print(Text(f"  not checked: {verdict.unchecked}", "yellow"), soft_wrap=True)
    console.print(_summary(entry, faults, checked))
    return faults


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what compilers and exporters have to say to their own users out of the list."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


def _row(verdict: Verdict) -> Table:
    state = "broken" if verdict.error else "unchecked" if verdict.unchecked else "kept"
    mark, style = MARKS[state]
    row = Table.grid(padding=(0, 1), expand=True)
    row.add_column(width=1)
    row.add_column(width=25, no_wrap=True)
    kept = verdict.error is None
    row.add_column(ratio=1, no_wrap=kept, overflow="ellipsis" if kept else "fold")
    row.add_column(justify="right", width=7)
    row.add_row(
        Text(mark, style=style), Text(_name(verdict)), Text(verdict.line.about, "dim"), f"{verdict.seconds:.1f} s"
    )
    return row


def _name(verdict: Verdict) -> str:
    return f"{verdict.line.name}, in models" if MODEL in verdict.line.kinds else verdict.line.name


def _fault(verdict: Verdict, plugin: Plugin) -> Fault | None:
    if verdict.error is None:
        return None
    case, _, reason = verdict.error.partition(f" breaks the line '{verdict.line.name}' ({verdict.line.about}): ")
    if MODEL in verdict.line.kinds:
        case = case.removeprefix("model '").removesuffix("'") + " in a model"
    return Fault(_name(verdict), case, shortened(reason, plugin, verdict.cause))


def shortened(reason: str, plugin: Plugin, cause: BaseException | None = None) -> str:
    """What was seen, in one line: of a compiler's or exporter's account what went wrong, and where in the file.

    ``cause`` is the exception behind it, whose traceback may lead there.
    """
    plain = re.sub(r"\x1b\[[0-9;]*m", "", reason)
    exported = re.search(r"## Exception summary\s+<class '(?:\w+\.)*(\w+)'>: (.+)", plain)
    traced = re.search(r"^\s*Explanation: (.+)", plain, re.MULTILINE)
    if exported:
        text = f"{exported[1]}: {exported[2]}"
    elif traced:
        text = f"{plain.splitlines()[0]} ({traced[1]})"
    else:
        text = plain.partition("\n\n")[0].partition(" Greatest relative difference")[0]
    text = " ".join(text.split())
    text = text if len(text) <= LONGEST_REASON else text[: LONGEST_REASON - 1] + "…"
    places = re.findall(rf'File "{re.escape(str(plugin.path))}", line (\d+)', plain)
    frames = traceback.extract_tb(cause.__traceback__) if cause is not None else []
    places += [frame.lineno for frame in frames if frame.filename == str(plugin.path)] if not places else []
    return f"{text} [{plugin.path.name}, line {places[-1]}]" if places else text


def _summary(entry: Entry, faults: list[Fault], count: int) -> Text:
    if not faults:
        return Text(f"{entry.kind} '{entry.name}' keeps all {count} lines of its contract", style="green")
    text = Text(f"\n{entry.kind} '{entry.name}' breaks {len(faults)} of {count} lines of its contract:\n", "bold red")
    for seen in dict.fromkeys(fault.seen for fault in faults):
        names = "; ".join(fault.line for fault in faults if fault.seen == seen)
        text.append(f"  {names}: ", style="bold").append(f"{seen}\n", style="not bold")
    return text
