"""Training time without evaluation, checkpoints and the first step."""

from __future__ import annotations

import pytest
import torch

from gatewright.training import stopwatch
from gatewright.training.stopwatch import Stopwatch


class Clock:
    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", clock)
    return clock


def test_pauses_and_the_discarded_step_do_not_count(clock: Clock) -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.start()
    clock.now += 30  # compiling
    watch.add(1000)
    watch.discard()
    assert watch.tokens_per_second() is None
    for _ in range(3):
        clock.now += 2
        watch.add(1000)
    assert watch.tokens_per_second() == 500
    watch.pause()
    clock.now += 60  # an evaluation
    watch.start()
    clock.now += 1
    watch.add(1000)
    assert watch.tokens_per_second() == 1000  # since it was last asked
    watch.pause()
    assert (watch.seconds, watch.tokens) == (7, 4000)


def test_goes_on_from_a_checkpoint(clock: Clock) -> None:
    watch = Stopwatch(torch.device("cpu"), seconds=10, tokens=500)
    watch.start()
    clock.now += 5
    watch.add(100)
    assert watch.tokens_per_second() == 20
    watch.pause()
    assert (watch.seconds, watch.tokens) == (15, 600)
    watch.pause()
    assert watch.seconds == 15
