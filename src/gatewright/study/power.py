"""What a number of seeds can see: power of the paired t test, smallest detectable difference, seeds needed."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from gatewright.study import sequential as sequential_tests
from gatewright.study.libraries import integrate, optimize, special, stats

MAX_SEEDS = 1_000
GRID = 8_001


def paired_t_power(effect: float, n: int, alpha: float = 0.05) -> float:
    """Chance that a two-sided paired t test at ``alpha`` rejects, given d_z = mean / sd of the differences and n seeds.

    With c the critical value and m = n − 1: E_s[Φ(d_z √n − c s/√m) + Φ(−d_z √n − c s/√m)], s chi-distributed with m
    degrees of freedom. This is the noncentral t distribution, integrated here because `scipy.stats.nct` (and
    statsmodels' `TTestPower`, which calls it) gives NaN for many effects at n = 2–5. Needs n ≥ 2.
    """
    s, density = _chi(n - 1)
    threshold = stats.t.isf(alpha / 2, n - 1) * s / np.sqrt(n - 1)
    shift = effect * np.sqrt(n)
    rejects = special.ndtr(shift - threshold) + special.ndtr(-shift - threshold)
    return float(integrate.simpson(density * rejects, x=s))


@cache
def _chi(m: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The chi density with ``m`` degrees of freedom on a grid that leaves out 1e-13 at either end."""
    s = np.linspace(stats.chi.ppf(1e-13, m), stats.chi.isf(1e-13, m), GRID)
    return s, np.asarray(stats.chi.pdf(s, m))


def detectable_effect(n: int, alpha: float = 0.05, power: float = 0.8) -> float:
    """The d_z that n seeds detect with probability ``power``; needs n ≥ 2. At n = 3 and α = 0.05 it is 3.26."""
    high = 1.0
    while paired_t_power(high, n, alpha) < power:
        high *= 2
    return float(optimize.brentq(lambda effect: paired_t_power(effect, n, alpha) - power, 0.0, high, xtol=1e-6))


def detectable_difference(
    sd: float, n: int, alpha: float = 0.05, power: float = 0.8, *, sequential: bool = False
) -> float | None:
    """The smallest true difference n seeds detect with probability ``power``, given the sd of paired differences.

    With ``sequential`` the seeds are looked at one by one, and n is the most there can be. None where no difference is
    large enough, as with fewer than two seeds.
    """
    if n < 2:
        return None
    smallest = sequential_tests.detectable_effect if sequential else detectable_effect
    difference = sd * smallest(n, alpha, power)
    return difference if np.isfinite(difference) else None


def seeds_needed(sd: float, difference: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Seeds that detect ``difference`` with probability ``power``, given the sd of paired differences.

    None if even 1,000 seeds do not.
    """
    if sd == 0:
        return 2
    effect = abs(difference) / sd
    if paired_t_power(effect, MAX_SEEDS, alpha) < power:
        return None
    low, high = 1, MAX_SEEDS  # too few, enough
    while high - low > 1:
        middle = (low + high) // 2
        if paired_t_power(effect, middle, alpha) < power:
            low = middle
        else:
            high = middle
    return high
