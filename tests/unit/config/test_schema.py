"""Values against annotations, and the words an error says."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytest

from gatewright.errors import UserError, did_you_mean, unknown
from gatewright.schema import check_keys, check_value


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int),
        (0.5, float),
        ("x", str),
        (True, bool),
        (None, int | None),
        (3, int | None),
        ("b", Literal["a", "b"]),
        ([1, 2], list[int]),
        ((1, 2), tuple[int, ...]),
        ([], list[str]),
        ({"a": 1}, dict[str, int]),
        (object, Any),
        (None, Any),
    ],
)
def test_values_that_fit_come_back_as_they_are(value: Any, annotation: Any) -> None:
    assert check_value("key", value, annotation) is value


@pytest.mark.parametrize("annotation", [float, float | None])
def test_a_whole_number_is_a_float_where_one_is_wanted(annotation: Any) -> None:
    found = check_value("key", 3, annotation)
    assert (found, type(found)) == (3.0, float)


def test_a_whole_number_stays_one_where_both_are_fine() -> None:
    assert type(check_value("key", 3, int | float)) is int


@pytest.mark.parametrize(
    ("value", "annotation", "said"),
    [
        ("8", int, "key='8': expected int, got str"),
        (8.0, int, "key=8.0: expected int, got float"),
        (True, int, "key=True: expected int, got bool"),
        (True, float, "key=True: expected float, got bool"),
        (1, bool, "key=1: expected bool, got int"),
        (None, int, "key=None: expected int, got NoneType"),
        (3, str | None, "key=3: expected str or null, got int"),
        ("heads", Literal["none", "head"], "key=heads: not one of none, head; did you mean 'head'?"),
        (3, Literal["a", "b"], "key=3: expected one of a, b, got int"),
        ("c", Literal["aa", "ab"] | None, "key='c': expected one of aa, ab or null, got str"),
        ([1, "2"], list[int], "got list"),
        (math.nan, float, "key=nan: must be a finite number"),
        (math.inf, float | None, "key=inf: must be a finite number"),
        (-math.inf, Any, "key=-inf: must be a finite number"),
    ],
)
def test_values_that_do_not_fit_are_refused(value: Any, annotation: Any, said: str) -> None:
    with pytest.raises(UserError) as error:
        check_value("key", value, annotation)
    assert said in str(error.value)


def test_unknown_keys_are_named_with_their_block_and_the_nearest() -> None:
    check_keys("model", ["norm"], {"norm", "bias"})
    with pytest.raises(UserError, match=r"unknown key 'model\.nrm'; did you mean 'model\.norm'"):
        check_keys("model", ["norm", "nrm"], {"norm", "bias"})
    with pytest.raises(UserError, match="unknown key 'zzz'; known are bias, norm"):
        check_keys("", ["zzz"], {"norm", "bias"})


def test_the_nearest_word() -> None:
    assert did_you_mean("rmsnrm", ["layernorm", "rmsnorm"]) == "; did you mean 'rmsnorm'?"
    assert did_you_mean("qqq", ["layernorm", "rmsnorm"]) == ""
    assert str(unknown("norm", "x", ["b", "a"])) == "unknown norm 'x' (known: a, b)"
    assert isinstance(unknown("norm", "x", []), ValueError)
