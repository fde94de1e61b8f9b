"""pandas, scipy and statsmodels, each loaded when first used: `gatewright compare` often needs none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatewright.lazy import LazyModule

if TYPE_CHECKING:
    import pandas as pd
    from scipy import integrate, optimize, special, stats
    from statsmodels.stats import multitest
else:
    pd = LazyModule("pandas")
    integrate = LazyModule("scipy.integrate")
    optimize = LazyModule("scipy.optimize")
    special = LazyModule("scipy.special")
    stats = LazyModule("scipy.stats")
    multitest = LazyModule("statsmodels.stats.multitest")

__all__ = ["integrate", "multitest", "optimize", "pd", "special", "stats"]
