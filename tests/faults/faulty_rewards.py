"""A reward whose worker process is killed, or hangs, on demand; importable by that process."""

from __future__ import annotations

import os
import signal
import time

from gatewright.rl.rewards import Reward


class Faulty(Reward):
    """1 for every completion that asks for nothing."""

    time_limit = 2.0

    def score(self, completion: str) -> float:
        if completion == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if completion == "hang":
            time.sleep(100_000)
        return 1.0
