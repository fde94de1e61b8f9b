"""A reward that does what it is told, importable by the process that scores."""

from __future__ import annotations

import os
import re
import time

from gatewright.rl.rewards import Reward


class Misbehaving(Reward):
    """Obeys the completion."""

    def __init__(self, time_limit: float | None = None) -> None:
        self.time_limit = time_limit

    def score(self, completion: str) -> float:
        match completion:
            case "raise":
                raise KeyError("missing")
            case "sleep":
                time.sleep(60)
            case "regex":  # holds the interpreter's lock, so that no thread could stop it
                re.match(r"(a+)+$", "a" * 60 + "b")
            case "exit":
                os._exit(3)
            case "nan":
                return float("nan")
            case "print":
                print("noise", flush=True)
        return 1.0


class Unloadable(Reward):
    """Cannot be made again elsewhere."""

    time_limit = 1.0

    def score(self, completion: str) -> float:
        return 1.0

    def warm_up(self) -> None:
        raise OSError("no model here")
