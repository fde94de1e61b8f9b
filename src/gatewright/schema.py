"""Checking values against type annotations, with errors that name the key and the nearest right one.

Two places accept names and values from outside: the configuration dataclasses and the knobs of a part (the
keyword-only arguments of its constructor). Both go through `check_value` and `check_keys`, so that both complain alike.
"""

from __future__ import annotations

import math
import types
from collections.abc import Collection, Iterable
from typing import Any, Literal, Union, get_args, get_origin

from gatewright.errors import UserError, did_you_mean

LARGEST_INTEGER = 2**63
LONGEST_SHOWN = 200


def check_keys(where: str, keys: Iterable[str], known: Collection[str]) -> None:
    """Raise `UserError` for the first of ``keys`` that is not ``known``; ``where`` is the prefix shown to the user."""
    for key in keys:
        if key not in known:
            full = f"{where}.{key}" if where else key
            near = did_you_mean(full, [f"{where}.{k}" if where else k for k in known])
            raise UserError(f"unknown key '{full}'{near or '; known are ' + (', '.join(sorted(known)) or 'none')}")


def check_value(key: str, value: Any, annotation: Any) -> Any:
    """Return ``value`` as the annotated type, or raise `UserError`.

    An integer is accepted for a float (and becomes one); nothing else is converted: ``"8"`` is not 8, and ``True`` is
    not 1. Numbers must be finite. Understands plain classes, ``None``, unions, ``Literal``, ``list[...]``,
    ``tuple[...]`` and ``Any``.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{key}={value}: must be a finite number")
    if isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
        raise UserError(f"{key}: a number of more than 64 bits")
    if _matches(value, annotation):
        return float(value) if _wants_float(value, annotation) else value
    if get_origin(annotation) is Literal and isinstance(value, str):
        choices = [str(c) for c in get_args(annotation)]
        raise UserError(f"{key}={value}: not one of {', '.join(choices)}{did_you_mean(value, choices)}")
    raise UserError(f"{key}={brief(value)}: expected {_describe(annotation)}, got {type(value).__name__}")


def brief(value: Any) -> str:
    """``repr(value)`` as far as a message has room for it."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[: LONGEST_SHOWN - 1] + "…"


def _options(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def _wants_float(value: Any, annotation: Any) -> bool:
    options = _options(annotation)
    return isinstance(value, int) and not isinstance(value, bool) and float in options and int not in options


def _matches(value: Any, annotation: Any) -> bool:
    for option in _options(annotation):
        origin = get_origin(option)
        if option is Any:
            return True
        if option is None or option is type(None):
            matched = value is None
        elif origin is Literal:
            matched = any(value == choice and type(value) is type(choice) for choice in get_args(option))
        elif origin in (list, tuple):
            matched = isinstance(value, (list, tuple)) and all(_matches(item, get_args(option)[0]) for item in value)
        elif origin is dict:
            matched = isinstance(value, dict)
        elif option in (int, float) and isinstance(value, bool):
            matched = False
        elif option is float:
            matched = isinstance(value, (int, float))
        else:
            matched = isinstance(value, option)
        if matched:
            return True
    return False


def _describe(annotation: Any) -> str:
    words = []
    for option in _options(annotation):
        if option is type(None):
            words.append("null")
        elif get_origin(option) is Literal:
            words.append("one of " + ", ".join(map(str, get_args(option))))
        else:
            words.append(getattr(option, "__name__", str(option)))
    return " or ".join(words)
