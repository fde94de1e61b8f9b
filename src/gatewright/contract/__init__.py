"""The component contract: what every registered part promises, line by line, each line a function that checks it."""

from gatewright.contract import (  # noqa: F401  (each defines lines)
    accounting,
    beginning,
    exporting,
    inits,
    interface,
    models,
    numerics,
    similarities,
    transport,
)
from gatewright.contract.case import Case, cases
from gatewright.contract.line import MODEL, BrokenLineError, Line, UncheckedError, lines
from gatewright.contract.model_case import SMALL_MODEL, ModelCase, model_cases
from gatewright.contract.verify import Verdict, verify

__all__ = [
    "MODEL",
    "SMALL_MODEL",
    "BrokenLineError",
    "Case",
    "Line",
    "ModelCase",
    "UncheckedError",
    "Verdict",
    "cases",
    "lines",
    "model_cases",
    "verify",
]
