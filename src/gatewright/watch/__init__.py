"""The live dashboard: what the runs below a folder are doing, read from their files and their processes.

Nothing here needs PyTorch, and nothing is written: a run does not notice that it is watched.
"""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from gatewright.terminal import Terminal
from gatewright.watch.runs import View, Watch
from gatewright.watch.screen import frame

FIRST_LOOK = 0.3
"""Seconds between two looks at the processes where one frame is all there is: CPU use is a rate."""

__all__ = ["watch"]


def watch(folder: str | Path, *, once: bool = False, interval: float = 1.0, console: Console | None = None) -> None:
    """Show the runs in ``folder`` (a run directory, a study's folder, or a folder of either) until none is running.

    The screen is drawn anew every ``interval`` seconds. With ``once``, and where ``console`` is no terminal, it is
    printed a single time. Ctrl-C leaves. Raises `UserError` if there is no such folder or no run in it.
    """
    console = console or Terminal()
    title, watched = str(folder), Watch(Path(folder))
    views = watched.look(time.time())
    if once or not console.is_terminal:
        if any(view.vitals for view in views):
            time.sleep(FIRST_LOOK)
            views = watched.look(time.time())
        console.print(frame(title, views, console.width), highlight=False)
        return
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                live.update(frame(title, views, console.width, console.height), refresh=True)
                if not watched.active(views):
                    break
                time.sleep(interval)
                views = watched.look(time.time())
    except KeyboardInterrupt:
        return
    console.print(frame(title, views, console.width), highlight=False)
    console.print(ending(views), highlight=False)


def ending(views: list[View]) -> str:
    """Why there is nothing more to watch."""
    left = sum(view.state == "waiting" for view in views)
    return f"Nothing is running; {left} trials wait for their study to be run again." if left else "Nothing is running."
