"""The two ways a command can go wrong, and the helper that names the nearest right word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A mistake in what was asked for: a wrong key, value, file or combination. One line; exit status 2."""


class RunError(RuntimeError):
    """A failure that is nobody's mistake: a full disk, a diverged loss, a worker that died. Exit status 1."""


class DivergedError(RunError):
    """A loss or gradient that is no longer a number: the run ended, and would end so again."""


class PeerLostError(RunError):
    """Another process of the same run is gone, and nothing can be computed without it."""


class StoppedError(RunError):
    """Work that was asked to stop and has saved: the same command goes on with it. Exit status 130."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """``"; did you mean 'norm'?"`` for the choice nearest to ``name``, or ``""`` when nothing is near."""
    close = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def unknown(what: str, name: str, choices: Iterable[str]) -> UserError:
    """The error for a name that is not among ``choices``: says the nearest one and lists all of them."""
    known = sorted(choices)
    return UserError(f"unknown {what} '{name}'{did_you_mean(name, known)} (known: {', '.join(known)})")
