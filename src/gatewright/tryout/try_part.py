"""`gatewright try`: everything that is to be known about a new part, in one call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gatewright.errors import UserError
from gatewright.plugins import Plugin, hides_a_module, load_plugin
from gatewright.registry import Entry
from gatewright.terminal import Terminal
from gatewright.tryout.contract_check import check_contract
from gatewright.tryout.cost_table import cost_table


def try_part(
    file: str | Path,
    overrides: Sequence[str] = (),
    *,
    study: bool = True,
    out: Path | None = None,
    seeds: int | None = None,
    workers: int | None = None,
    console: Console | None = None,
) -> bool:
    """Hold the one part that ``file`` registers to its contract, show its cost, and compare it with strong baselines.

    The study has the rivals of the part's kind at matched parameters; ``overrides`` hold for all its arms. It is
    written to ``out``, or to the first ``runs/try-<name>`` that is free or was begun with the same designs. Returns
    whether all went well: the contract is kept, and every trial finished. Without ``study`` it ends before training.

    Raises `UserError` for a file that cannot be loaded or has not exactly one part, and for mistaken overrides.
    """
    console = console or Terminal()
    plugin, entry = load_part(Path(file))
    if study:
        # statistics and plots, for which a look at the contract need not wait
        from gatewright.tryout.comparison import check_request, compare

        check_request(entry, overrides, seeds, out)
    if check_contract(entry, plugin, console):
        return False
    for preset in ("small", "gpt2"):
        if (table := cost_table(entry, plugin, preset)) is not None:
            console.print("", table)
    if not study:
        return True
    return compare(entry, plugin, overrides, out=out, seeds=seeds, workers=workers, console=console)


def load_part(file: Path) -> tuple[Plugin, Entry]:
    """Load ``file`` and the one part it registers; `UserError` for none, several, or a file that cannot be tried."""
    plugin = load_plugin(file)
    if plugin.path.parent == Path.cwd() and hides_a_module(plugin.path):
        raise UserError(f"{file} hides the module '{file.stem}' from Python when trials run here; rename it")
    if not plugin.entries:
        raise UserError(f'{file} registers no part; put @register("gate", "my_gate") in front of its class')
    if len(plugin.entries) > 1:
        names = ", ".join(f"{entry.kind} '{entry.name}'" for entry in plugin.entries)
        raise UserError(f"{file} registers {names}; try takes one part at a time, so give each a file")
    return plugin, plugin.entries[0]
