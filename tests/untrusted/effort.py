"""How often the readers are tried: a few repeatable times in every run of the tests, many times by ``make fuzz``."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

MANY = int(os.environ.get("GATEWRIGHT_FUZZ", "0"))
EFFORT = settings(
    max_examples=MANY or 9, derandomize=not MANY, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
STUDY_EFFORT = settings(EFFORT, max_examples=max(1, EFFORT.max_examples // 3))
"""A study takes long to judge."""
