"""A line of the contract: one promise that every part of a kind keeps, and the function that checks it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gatewright.errors import unknown
from gatewright.registry import KINDS

MODEL = "model"
"""The kind of the lines that hold for a whole model, with any part in it."""


class BrokenLineError(AssertionError):
    """A part does not keep a line of the contract. The message names the part, the line and what was found."""


class UncheckedError(RuntimeError):
    """A line cannot be checked here, because a package it needs is not installed."""


@dataclass(frozen=True)
class Line:
    """One promise. ``check`` takes a case and raises whatever it likes; calling the line raises `BrokenLineError`."""

    name: str
    check: Callable[[Any], None]
    kinds: frozenset[str]
    slow: bool = False
    """Takes about a second a case; others take milliseconds."""

    @property
    def about(self) -> str:
        """The promise, in words: the first line of the check's docstring."""
        return (inspect.getdoc(self.check) or "").partition("\n")[0]

    def __call__(self, case: Any) -> None:
        """Check ``case``; `BrokenLineError` names it, this line and the reason, whatever went wrong inside."""
        try:
            self.check(case)
        except UncheckedError:
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, AssertionError) else f"{type(error).__name__}: {error}"
            raise BrokenLineError(f"{case} breaks the line '{self.name}' ({self.about}): {reason}") from error


_lines: list[Line] = []


def line(
    *kinds: str, name: str | None = None, slow: bool = False
) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Decorator: the function below is a line of the contract of ``kinds`` (without any: of every kind of module)."""

    def add(check: Callable[[Any], None]) -> Callable[[Any], None]:
        bound = frozenset(kinds or (kind for kind in KINDS if kind != "init"))
        _lines.append(Line(name or check.__name__.replace("_", " "), check, bound, slow))
        return check

    return add


def lines(kind: str) -> list[Line]:
    """The lines that parts of ``kind`` keep (``"model"``: those of a whole model), slow ones last."""
    if kind not in (*KINDS, MODEL):
        raise unknown("kind of part", kind, [*KINDS, MODEL])
    return sorted((each for each in _lines if kind in each.kinds), key=lambda each: each.slow)


def demand(holds: bool, message: str) -> None:
    """Raise `AssertionError` with ``message`` unless ``holds``; unlike ``assert``, also under ``python -O``."""
    if not holds:
        raise AssertionError(message)


def demand_close(found: torch.Tensor, expected: torch.Tensor, what: str, *, atol: float, rtol: float = 0.0) -> None:
    """Demand the same shape, type and, within ``atol + rtol · |expected|``, values; NaN equals NaN."""
    torch.testing.assert_close(
        found, expected, atol=atol, rtol=rtol, equal_nan=True, msg=lambda text: f"{what}: {' '.join(text.split())}"
    )


def demand_equal(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Demand bit-equal values; NaN equals NaN."""
    demand_close(found, expected, what, atol=0.0)


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    """``‖found − expected‖ / ‖expected‖``, in float64 (0 where both are 0)."""
    found, expected = found.detach().double(), expected.detach().double()
    distance = (found - expected).norm().item()
    return distance / max(expected.norm().item(), torch.finfo(torch.float64).tiny)
