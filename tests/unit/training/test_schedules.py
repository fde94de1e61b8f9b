"""Learning-rate schedules against their closed forms and shapes."""

from __future__ import annotations

import math
from typing import Any

import pytest

from gatewright.config import TrainConfig
from gatewright.training.schedule import SCHEDULES, learning_rate_multiplier, warmup_steps


def course(**options: Any) -> list[float]:
    config = TrainConfig(**options)
    return [learning_rate_multiplier(config, step) for step in range(config.max_steps)]


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_warmup_is_a_straight_line_to_the_peak(schedule: str) -> None:
    values = course(schedule=schedule, max_steps=50, warmup_steps=10)
    assert values[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert max(values) == 1.0


def test_cosine_is_half_way_in_the_middle_and_ends_at_the_floor() -> None:
    values = course(schedule="cosine", max_steps=111, warmup_steps=10, min_lr_ratio=0.2)
    assert values[10] == 1.0
    assert values[60] == pytest.approx(0.6)  # (1 + 0.2) / 2
    assert values[35] == pytest.approx(0.2 + 0.8 * (1 + math.sqrt(0.5)) / 2)  # a quarter of the way
    assert values[110] == pytest.approx(0.2)
    assert values[10:] == sorted(values[10:], reverse=True)


def test_wsd_is_flat_and_then_falls_in_a_straight_line() -> None:
    values = course(schedule="wsd", max_steps=100, warmup_steps=10, decay_fraction=0.2, min_lr_ratio=0.0)
    assert values[10:80] == [1.0] * 70
    assert values[80:] == pytest.approx([1 - 0.05 * (k + 1) for k in range(20)])
    assert values[-1] == 0.0


def test_wsd_decay_does_not_reach_into_the_warmup() -> None:
    values = course(schedule="wsd", max_steps=10, warmup_steps=8, decay_fraction=0.5, min_lr_ratio=0.5)
    assert values[:8] == pytest.approx([k / 8 for k in range(1, 9)])
    assert values[8:] == pytest.approx([0.75, 0.5])


def test_wsd_without_decay_is_constant() -> None:
    assert course(schedule="wsd", max_steps=9, warmup_steps=0, decay_fraction=0.0) == [1.0] * 9


def test_constant_stays() -> None:
    assert course(schedule="constant", max_steps=20, warmup_steps=4)[3:] == [1.0] * 17


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
@pytest.mark.parametrize("warmup", [0, 1, 2])
def test_shortest_runs_have_a_learning_rate(schedule: str, warmup: int) -> None:
    for max_steps in (max(1, warmup), 2):
        values = course(schedule=schedule, max_steps=max_steps, warmup_steps=warmup, min_lr_ratio=0.1)
        assert len(values) == max_steps
        assert all(0.1 <= value <= 1 for value in values)


def test_default_warmup_is_a_tenth_and_at_most_1000_steps() -> None:
    assert warmup_steps(TrainConfig(max_steps=200)) == 20
    assert warmup_steps(TrainConfig(max_steps=100_000)) == 1000
    assert warmup_steps(TrainConfig(max_steps=200, warmup_steps=0)) == 0
