"""The component contract: what every registered part promises, line by line, each line a function that checks it."""

from gatewright.contract import accounting, beginning, exporting, interface, numerics, transport  # noqa: F401  (lines)
from gatewright.contract.case import Case, cases
from gatewright.contract.line import MODEL, Broken, Line, Unavailable, lines

__all__ = ["MODEL", "Broken", "Case", "Line", "Unavailable", "cases", "lines"]
