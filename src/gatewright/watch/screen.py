"""Drawing the dashboard: a table of all runs, and a panel for each that is running, as the terminal has room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import compress
from typing import get_args

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gatewright.training.console import si
from gatewright.watch.curve import course
from gatewright.watch.follow import Measured
from gatewright.watch.runs import State, View

STATES: tuple[State, ...] = get_args(State)
STYLES: dict[State, str] = {
    "running": "bold cyan", "starting": "cyan", "stopped (killed?)": "bold yellow", "failed": "bold red",
    "diverged": "bold red", "interrupted": "yellow", "waiting": "dim", "finished": "green",
}  # fmt: skip

LEAST_PANEL, MOST_PANEL, BRIEF = 8, 16, 3  # lines of a panel with a curve, and of one without
LEAST_ROWS = 3  # of the table, where panels want the room
MOST_ERRORS = 3
TWO_COLUMNS = 130  # characters
COLUMNS = (60, 100, 70, 100, 0)
"""The width of a screen that has room for step, training, evaluation, speed and ETA, behind run and state."""
FACTS, LEAST_CURVE, BRIEF_ALPHA = 40, 20, 30  # characters


def frame(title: str, views: Sequence[View], width: int, height: int | None = None) -> RenderableType:
    """The whole screen in ``width`` × ``height`` characters; without a height everything is shown."""
    live = [view for view in views if view.live]
    errors = [view for view in views if view.error and view.state in ("failed", "diverged")]
    if height is None:
        lines = len(views) + 2 + len(errors) + (LEAST_PANEL + 2) * len(live)
    else:
        errors = errors[:MOST_ERRORS]
        lines = height
    room = lines - 2 - len(errors)  # without the heading and the table's header
    columns = 2 if width >= TWO_COLUMNS and len(live) > 1 else 1
    rows = -(-len(live) // columns)
    tall = panel_height(room, len(views), max(LEAST_ROWS, len(live)), rows)
    panels: list[RenderableType]
    if tall > BRIEF:
        panels = [panel(view, width // columns, tall) for view in live]
    else:
        columns, rows = 1, min(len(live), max(0, room - min(len(views), LEAST_ROWS)) // BRIEF)
        panels = [brief(view, width) for view in live[:rows]]
    grid = Table.grid(expand=True)
    for _ in range(columns):
        grid.add_column(ratio=1)
    for first in range(0, len(panels), columns):
        grid.add_row(*panels[first : first + columns])
    reasons = [
        Text(f"{view.name}: {view.error}", style="red", no_wrap=height is not None, overflow="ellipsis")
        for view in errors
    ]
    table = run_table(views, width, max(1, room - tall * rows))
    return Group(heading(title, views), table, *reasons, *([grid] if panels else []))


def panel_height(room: int, runs: int, least: int, rows: int) -> int:
    """Lines for each of ``rows`` panels below a table of ``runs`` lines, of which ``least`` must stay visible."""
    if not rows:
        return BRIEF
    for table in (runs, min(runs, least)):
        tall = (room - table) // rows
        if tall >= LEAST_PANEL:
            return min(tall, MOST_PANEL) if table == runs else LEAST_PANEL
    return BRIEF


def heading(title: str, views: Sequence[View]) -> Text:
    """What is watched and how many runs are in which state."""
    tally = Counter(view.state for view in views)
    said = ", ".join(f"{tally[state]} {state}" for state in STATES if tally[state])
    return Text.assemble((title, "bold"), f": {said}", no_wrap=True, overflow="ellipsis")


def run_table(views: Sequence[View], width: int, most: int) -> Table:
    """One line a run; beyond ``most`` lines those in which least is happening are left out."""
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("run")
    table.add_column("state", no_wrap=True)
    fits = [room <= width for room in COLUMNS]
    progress = [view.history.progress for view in views]
    trained, judged = _names([p.trained for p in progress]), _names([p.judged for p in progress])
    for title in compress(("step", trained, judged, "tok/s", "ETA"), fits):
        table.add_column(title, justify="right", no_wrap=True)
    shown = list(views)
    if len(shown) > most:
        urgent = sorted(shown, key=lambda view: STATES.index(view.state))[: max(1, most - 1)]
        shown = [view for view in views if view in urgent]
    for view in shown:
        now = view.history.progress
        cells = [_steps(view), _number(now.trained), _number(now.judged), _rate(view), _time(view.seconds_left)]
        name = Text(view.name, no_wrap=True, overflow="ellipsis")
        table.add_row(name, Text(view.state, style=STYLES[view.state]), *compress(cells, fits))
    if len(shown) < len(views):
        table.add_row(Text(f"and {len(views) - len(shown)} more", style="dim", no_wrap=True))
    return table


def panel(view: View, width: int, height: int) -> Panel:
    """A running run: how far, how fast, at what price, and its course."""
    facts = Table.grid()
    facts.add_column(width=FACTS, no_wrap=True, overflow="ellipsis")
    facts.add_row(_bar(view, FACTS))
    for line in (_position(view), _checkpoint(view), _losses(view), _speed(view), _machine(view)):
        facts.add_row(Text(line))
    body = Table.grid(padding=(0, 2, 0, 0))
    inside = width - 4
    if inside - FACTS - 2 >= LEAST_CURVE:
        curve = course(view.history.train, view.history.validation, inside - FACTS - 2, height - 2)
        body.add_row(facts, curve)
    else:
        body.add_row(facts)
    title = f"[bold]{escape(view.name)}[/bold]" + (f"  {escape(view.architecture)}" if view.architecture else "")
    return Panel(body, title=title, title_align="left", subtitle=_alpha(view, inside - 4), subtitle_align="left",
                 width=width, height=height, border_style=STYLES[view.state])  # fmt: skip


def brief(view: View, width: int) -> RenderableType:
    """The same in three lines."""
    name, alpha = Text(view.name, style="bold", no_wrap=True, overflow="ellipsis"), _alpha(view, BRIEF_ALPHA) or ""
    head = Table.grid(padding=(0, 1, 0, 0))
    head.add_row(name, _bar(view, max(10, width - len(view.name) - len(alpha) - 2)), alpha)
    where = " · ".join(filter(None, (_position(view), _checkpoint(view))))
    what = " · ".join(filter(None, (_losses(view), _speed(view), _machine(view))))
    lines = [Text(f"  {line}", no_wrap=True, overflow="ellipsis") for line in (where, what)]
    return Group(head, *lines)


def _bar(view: View, width: int) -> Table:
    step = view.history.progress.step
    bar = Table.grid(padding=(0, 1, 0, 0))
    bar.add_row(ProgressBar(total=max(1, view.max_steps), completed=step, width=max(5, width - 6)), _percent(view))
    return bar


def _percent(view: View) -> str:
    return f"{view.history.progress.step / view.max_steps:.0%}" if view.max_steps else ""


def _steps(view: View) -> str:
    step = view.history.progress.step
    return f"{step:,} {_percent(view):>4}" if step else "–"


def _position(view: View) -> str:
    return f"step {view.history.progress.step:,} of {view.max_steps:,} · ETA {_time(view.seconds_left) or '–'}"


def _checkpoint(view: View) -> str:
    if view.checkpoint is None:
        return ""
    within = f" in {_time(view.checkpoint_in)}" if view.checkpoint_in is not None else ""
    return f"checkpoint at {view.checkpoint:,}{within}"


def _losses(view: View) -> str:
    trained, judged = view.history.progress.trained, view.history.progress.judged
    return f"{trained.name} {_number(trained)} · {judged.name.removesuffix(' loss')} {_number(judged)}"


def _speed(view: View) -> str:
    mfu = view.history.newest.get("train", {}).get("mfu")
    return f"{_rate(view) or '–'} tok/s" + (f" · MFU {mfu:.1%}" if mfu is not None else "")


def _machine(view: View) -> str:
    if view.vitals is None:
        return f"on {view.where}: process not visible from here" if view.where else ""
    cpu = "–" if view.vitals.cpu_percent is None else f"{view.vitals.cpu_percent:.0f}%"
    return f"CPU {cpu} · memory {si(view.vitals.memory_bytes, 'B')} · PID {view.vitals.pid}"


def _alpha(view: View, width: int) -> str | None:
    """α of each layer, or their range where the layers are too many for ``width``."""
    values = list((view.history.newest.get("train", {}).get("alpha") or {}).values())
    if not values:
        return None
    each = "α " + " ".join(f"{value:.2f}" for value in values)
    return each if len(each) <= width else f"α {min(values):.2f} to {max(values):.2f} in {len(values)} layers"


def _number(measured: Measured) -> str:
    return "–" if measured.value is None else f"{measured.value:.4f}"


def _names(measured: Sequence[Measured]) -> str:
    """What a column of these holds, by those of them that are known."""
    known = dict.fromkeys(one.name for one in measured if one.value is not None)
    return " / ".join(known or [measured[0].name])


def _rate(view: View) -> str:
    rate = view.history.progress.tokens_per_second
    return f"{rate:,.0f}" if rate and view.live else ""


def _time(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))
