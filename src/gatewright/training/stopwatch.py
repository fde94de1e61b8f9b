"""Time spent training, without what is not training."""

from __future__ import annotations

import time

import torch

from gatewright.hardware.device import synchronize


class Stopwatch:
    """Adds up training time and the tokens processed in it.

    Evaluation and checkpoints happen while it is paused. The first step of a process is not counted when others
    follow: it pays for compilation and warm caches. The device is waited for only where the clock is read.
    """

    def __init__(self, device: torch.device, seconds: float = 0.0, tokens: int = 0) -> None:
        self.device = device
        self.seconds = seconds
        self.tokens = tokens
        self._counting_since: float | None = None
        self._new_tokens = 0
        self._mark = (seconds, tokens)

    def start(self) -> None:
        """Begin or go on counting."""
        synchronize(self.device)
        self._counting_since = time.perf_counter()

    def add(self, tokens: int) -> None:
        """Another ``tokens`` were trained on."""
        self._new_tokens += tokens

    def pause(self) -> None:
        """Stop counting."""
        if self._counting_since is None:
            return
        synchronize(self.device)
        self.seconds += time.perf_counter() - self._counting_since
        self.tokens += self._new_tokens
        self._new_tokens = 0
        self._counting_since = None

    def discard(self) -> None:
        """Forget what was counted since `start`, and go on from here."""
        self._new_tokens = 0
        self.start()

    def tokens_per_second(self) -> float | None:
        """The rate since it was last asked for; None if nothing was counted. Waits for the device; goes on counting."""
        running = self._counting_since is not None
        self.pause()
        seconds, tokens = self.seconds - self._mark[0], self.tokens - self._mark[1]
        self._mark = (self.seconds, self.tokens)
        if running:
            self.start()
        return tokens / seconds if tokens and seconds > 0 else None

    def overall(self) -> float | None:
        """The rate over everything counted."""
        return self.tokens / self.seconds if self.tokens and self.seconds > 0 else None
