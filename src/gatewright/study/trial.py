"""One run of a study, and what it is called. Importing this costs nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass

SAFE_NAME = re.compile(r"\w[\w.+-]{0,63}")
"""A name that can be a folder's, and leads nowhere else."""
MULTIPLE = re.compile(r"(?=.*[1-9])\d+(\.\d+)?x")
"""A learning rate given as a multiple, such as ``0.5x``."""


@dataclass(frozen=True)
class Trial:
    """One run of a study: an arm with a seed."""

    arm: str
    seed: int
    learning_rate: float | str | None = None
    """given for the runs among which an arm's learning rate is chosen; None: a run that is judged"""

    @property
    def tuning(self) -> bool:
        """Whether it serves to choose its arm's learning rate."""
        return self.learning_rate is not None

    @property
    def name(self) -> str:
        """``arm/seed-N`` or ``arm/lr-R-seed-N``, also its place below ``runs/`` and ``trials/``."""
        rate = self.learning_rate
        rate = "" if rate is None else f"lr-{rate}-" if isinstance(rate, str) else f"lr-{rate:g}-"
        return f"{self.arm}/{rate}seed-{self.seed}"
