"""Ways in which a file can be wrong: any bytes, sound bytes damaged, sound structures with something else inside."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

Edit = Callable[[Any], Any]

ODD = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**400, -(10**400), 0.0, -0.0, 0.5, 1e308, -1e308, 1e-320,
    "", "x", "\x1b]0;owned\x07", "[red]", "</script><script>alert(1)</script>", "../../../etc/passwd", "${oc.env:HOME}",
    "a" * 300, "\u202e", "\x00", "1e9", "nan", [], [[]], [None], [0], ["x", 1], {}, {"": {}}, {"name": 1}, {"a": [1]},
]  # fmt: skip
"""Values that readers tend not to expect."""

NOT_FINITE = [float("nan"), float("inf"), float("-inf")]

values = st.one_of(
    st.sampled_from(ODD),
    st.sampled_from(NOT_FINITE),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    ),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a structure, itself included."""
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*path, key))


@st.composite
def damaged_structures(draw: st.DrawFn, sound: Any) -> Any:
    """``sound`` with one to three places changed, taken out, or given a neighbour."""
    value = copy.deepcopy(sound)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(value))))
        if not path:
            if draw(st.integers(0, 9)) == 0:
                value = copy.deepcopy(draw(values))
            continue
        *above, last = path
        parent = value
        for key in above:
            parent = parent[key]
        how = draw(st.sampled_from(["change", "change", "remove", "add"]))
        if how == "remove":
            del parent[last]
        elif how == "change" or not isinstance(parent, dict):
            parent[last] = copy.deepcopy(draw(values))  # lest the next change be made in the list of odd ones
        else:
            parent[draw(st.text(max_size=8))] = copy.deepcopy(draw(values))
    return value


@st.composite
def damaged_bytes(draw: st.DrawFn, sound: bytes) -> bytes:
    """Any bytes, or ``sound`` cut off, with bytes changed, put in or left out."""
    how = draw(st.sampled_from(["any", "cut", "flip", "insert", "delete", "nothing"]))
    if how == "nothing":
        return b""
    if how == "any":
        return draw(st.binary(max_size=64))
    at = draw(st.integers(0, max(0, len(sound) - 1)))
    if how == "cut":
        return sound[:at]
    if how == "flip":
        changed = bytearray(sound)
        for place in draw(st.lists(st.integers(0, max(0, len(sound) - 1)), min_size=1, max_size=4)) if sound else []:
            changed[place] ^= draw(st.integers(1, 255))
        return bytes(changed)
    some = draw(st.binary(min_size=1, max_size=8))
    return sound[:at] + some + sound[at:] if how == "insert" else sound[:at] + sound[at + len(some) :]


def as_json(value: Any) -> bytes:
    """As Python writes it, NaN included."""
    return json.dumps(value).encode()


def as_json_lines(value: Any) -> bytes:
    """One value a line; whatever is not a list is one line."""
    return b"".join(as_json(line) + b"\n" for line in (value if isinstance(value, list) else [value]))


def as_yaml(value: Any) -> bytes:
    """As YAML, whatever is in it."""
    return yaml.safe_dump(value, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


def damaged_files(sound: bytes, structure: Any = None, write: Callable[[Any], bytes] = as_json) -> Any:
    """Damaged bytes of a file, and where its ``structure`` is known, files with a damaged one."""
    if structure is None:
        return damaged_bytes(sound)
    return damaged_bytes(sound) | damaged_structures(structure).map(write)
