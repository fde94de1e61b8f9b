"""The first ten minutes of a new part: its contract, its cost, a small study against strong baselines, a report."""

from gatewright.tryout.try_part import try_part

__all__ = ["try_part"]
