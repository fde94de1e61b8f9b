"""Reading files that may come from anyone: as data, within bounds, and with errors that are ours.

Nothing read here can run code, refer to other files, or grow far beyond its own size.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import yaml

from gatewright.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST = 64 * 2**20
"""Bytes of a file that is read at once."""
MOST_VALUES = 100_000
"""Values in a structure. YAML can refer to what it has said already, and so write an enormous one with a few lines."""
LARGEST_INTEGER = 10**100
"""Beyond any count; transformers writes 10^30 for "as many as you like". Larger ones do not fit into a float."""
LONGEST_NOTE = 2_000
SHOWN = 300
"""Characters of another library's complaint."""


def read_text(path: Path, what: str = "") -> str:
    """The text of an ordinary UTF-8 file of at most `LARGEST` bytes; ``what`` it is stands in the error."""
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe would keep its reader waiting for ever
            raise UserError(f"cannot read {what}{path}: it is not an ordinary file")
        if path.exists() and path.stat().st_size > LARGEST:
            raise UserError(f"cannot read {what}{path}: {path.stat().st_size:,} bytes are more than such a file has")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot read {what}{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"cannot read {what}{path}: not UTF-8 text (at byte {error.start})") from error


def read_note(path: Path) -> str | None:
    """The beginning of a short text that is to be shown, whatever is in it; None where there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return file.read(LONGEST_NOTE).decode(errors="replace").strip()


def parse_json(text: str | bytes, *, finite: bool = True) -> Any:
    """``text`` as JSON whose integers fit into floats and whose numbers are ``finite``; `ValueError` otherwise."""
    number = _float if finite else float
    try:
        return json.loads(text, parse_int=_integer, parse_float=number, parse_constant=number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json_object(path: Path, *, finite: bool = True) -> dict[str, Any]:
    """The JSON object in a file."""
    try:
        value = parse_json(read_text(path), finite=finite)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"cannot read {path}: {complaint(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"cannot read {path}: expected a JSON object")
    return value


def parse_yaml(text: str) -> dict[str, Any]:
    """The YAML mapping that ``text`` is: plain values only, no objects, and no more of them than `MOST_VALUES`.

    The `UserError` says what is wrong; where, the caller knows.
    """
    try:
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        raise UserError(f"not readable YAML ({complaint(error)})") from error
    except RecursionError as error:
        raise UserError("not readable YAML (it is nested too deeply)") from error
    if not isinstance(values, dict):
        raise UserError("expected a YAML mapping")
    _check_values(values)
    return values


def check_numbers(values: Mapping[str, Any], texts: Collection[str], tables: Collection[str]) -> str | None:
    """The first key that holds something else than it should; None if all is as it should be.

    ``texts`` may hold text, ``tables`` mappings from names to numbers, and all others numbers. Anything may be null.
    """
    for key, value in values.items():
        if value is None:
            continue
        if key in texts:
            sound = isinstance(value, str)
        elif key in tables:
            sound = isinstance(value, dict) and all(inner is None or _is_number(inner) for inner in value.values())
        else:
            sound = _is_number(value)
        if not sound:
            return key
    return None


def misfit(values: Mapping[str, Any], form: Mapping[str, Any], where: str = "") -> str | None:
    """The first place at which ``values`` are not of the ``form``: types by key, or forms; None if all are.

    A key with a question mark may be missing or null. Keys that the form does not know may hold anything.
    """
    for key, expected in form.items():
        name = key.removesuffix("?")
        value, place = values.get(name), f"{where}{name}"
        if value is None and name != key:
            continue
        if not isinstance(expected, Mapping):
            if not isinstance(value, expected) or isinstance(value, bool):
                return place
        elif not isinstance(value, Mapping):
            return place
        elif (inner := misfit(value, expected, f"{place}.")) is not None:
            return inner
    return None


def read_array(path: Path) -> NDArray[Any]:
    """The array in a ``.npy`` file. One that claims more than the file holds is refused before memory is asked for."""
    import numpy as np

    with opening(f"cannot read {path}: no sound array"):  # NumPy reads the header as Python source
        return np.array(np.load(path, mmap_mode="r", allow_pickle=False))


def complaint(error: Exception) -> str:
    """What another library had to say, as one short line."""
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= SHOWN else said[: SHOWN - 1] + "…"


@contextmanager
def opening(what: str) -> Iterator[None]:
    """Inside, what a library raises over a stranger's files becomes a `UserError`: ``what``, and its complaint.

    Such files fail in as many ways as there are, so every exception does; errors of ours stay as they are.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{what} ({complaint(error)})") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < math.inf  # neither NaN nor infinite


def _integer(digits: str) -> int:
    if len(digits) > 102 or abs(number := int(digits)) >= LARGEST_INTEGER:
        raise ValueError(f"the number {digits[:20]}… is too large")
    return number


def _float(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise ValueError(f"{digits[:20]} is not a finite number")
    return number


def _check_values(values: Any) -> None:
    """Count what a structure would be if it were written out, and look at its keys and integers."""
    waiting, seen = [values], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if isinstance(value, dict):
            if odd := [key for key in value if not isinstance(key, (str, int, float, NoneType))]:
                raise UserError(f"a key is a {type(odd[0]).__name__}")
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, int) and abs(value) >= LARGEST_INTEGER:
            raise UserError("a number is too large")
        if seen + len(waiting) > MOST_VALUES:
            raise UserError(f"it holds more than {MOST_VALUES:,} values")
