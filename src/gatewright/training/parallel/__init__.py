"""How one run is spread over processes: all that the trainer does across them goes through `Parallel`."""

from __future__ import annotations

from gatewright.training.parallel.base import Parallel
from gatewright.training.parallel.start import parallelised

__all__ = ["Parallel", "parallelised"]
