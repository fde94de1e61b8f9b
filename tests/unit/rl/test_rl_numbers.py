"""Numbers as models write them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.rl.rewards import NumericReward, last_number

NUMBERS = [
    ("5", 5),
    ("05", 5),
    ("1,234.50", "1234.5"),
    ("1,234,567", 1234567),
    ("$1{,}234$", 1234),
    ("-3", -3),
    ("\u22123", -3),
    ("(\u22123)", -3),
    ("x=-3", -3),
    ("+7", 7),
    ("$5", 5),
    ("-$5", -5),
    ("$-5", -5),
    (r"\$5.25", "5.25"),
    ("€1,000", 1000),
    ("19$", 19),
    ("50%", 50),
    (r"12.5\%", "12.5"),
    ("12km", 12),
    ("5 m^2", 5),
    ("60 km/h", 60),
    ("3 apples and 4 pears", 4),
    ("3/4", "3/4"),
    ("-3 / 4", "-3/4"),
    ("1 3/4", "7/4"),
    ("-1 1/2 cups", "-3/2"),
    ("0.1", "1/10"),
    (".5", "1/2"),
    ("-.5", "-1/2"),
    ("42.", 42),
    ("The answer is 42.", 42),
    ("1e3", 1000),
    ("1.5e-2", "0.015"),
    ("7 - 3", 3),
    ("7-3", 3),
    ("12,34", 34),
    (r"\boxed{72}", 72),
    ("**72**", 72),
    ("59,50,19", 19),
]

NONE = ["", "no idea", "H2O", "5/0", "9" * 2000, "x2", "--", "$"]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_the_last_number_is_read_exactly(text: str, value: int | str) -> None:
    assert last_number(text) == Fraction(value)


@pytest.mark.parametrize("text", NONE)
def test_what_is_no_number(text: str) -> None:
    assert last_number(text) is None


@given(st.integers(-(10**12), 10**12), st.integers(0, 4), st.sampled_from("-\u2212\uff0d"))
def test_grouped_decimals_come_back(number: int, places: int, minus: str) -> None:
    exact = Fraction(number, 10**places)
    written = f"{abs(number) // 10**places:,}" + (f".{abs(number) % 10**places:0{places}d}" if places else "")
    assert last_number(f"It is {minus if number < 0 else ''}${written} in all.") == exact


@given(st.text(alphabet="0123456789,./-$%e ^x", max_size=40))
def test_no_text_is_too_strange(text: str) -> None:
    last_number(text)


@pytest.mark.timeout(5)
@pytest.mark.parametrize("piece", ["1 ", "1,111", "1 1/", "-$", "9", "e1", " "])
def test_long_texts_take_little_time(piece: str) -> None:
    last_number(piece * 20_000)


@pytest.mark.parametrize(
    ("completion", "score"),
    [
        ("so #### 1,234.50", 1.0),
        ("1234.5", 0.0),
        ("#### 1234.5 #### 1234.5", 0.0),
        ("1234.5 ####", 0.0),
        ("#### 1234.50001", 0.0),
        ("#### 7, no, 1234.5 dollars", 1.0),
        ("", 0.0),
    ],
)
def test_the_answer_stands_after_the_one_delimiter(completion: str, score: float) -> None:
    assert NumericReward("####")(prompts=["?"], completions=[completion], answer=["1234.5"]) == [score]
