"""Dividing a corpus into training and validation documents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewright.data.splits import cut_position, last_held_out, split_key


def keys_of(texts: list[str], seed: int = 0) -> np.ndarray:
    return np.array([split_key(text.encode(), seed) for text in texts], dtype=np.uint64)


def held_out(keys: np.ndarray, fraction: float, at_once: int = 7) -> np.ndarray:
    """Which documents are held out, their keys read in blocks."""
    last = last_held_out(lambda: (keys[i : i + at_once] for i in range(0, len(keys), at_once)), fraction)
    return keys <= np.uint64(last)


@given(st.integers(2, 300), st.floats(0.001, 0.999), st.integers(0, 5))
def test_the_share_is_as_near_as_documents_allow(count, fraction, seed):
    out = held_out(keys_of([f"document {i}" for i in range(count)], seed), fraction)
    assert 1 <= out.sum() <= count - 1
    nearest_possible = min(max(fraction * count, 1), count - 1)
    assert abs(out.sum() - nearest_possible) <= 0.5


def test_seeds_draw_differently_and_each_draws_the_same_again():
    texts = [f"document {i}" for i in range(100)]
    draws = [tuple(held_out(keys_of(texts, seed), 0.2)) for seed in (0, 1, 0)]
    assert draws[0] == draws[2] != draws[1]


def test_a_document_keeps_its_side_when_the_order_changes():
    texts = [f"document {i}" for i in range(50)]
    out = held_out(keys_of(texts), 0.1)
    turned = held_out(keys_of(texts[::-1]), 0.1)
    assert (out == turned[::-1]).all()


def test_copies_of_a_text_never_end_on_both_sides():
    texts = [f"document {i % 30}" for i in range(300)]
    out = held_out(keys_of(texts), 0.1)
    sides = {text: {bool(side) for t, side in zip(texts, out, strict=True) if t == text} for text in texts}
    assert all(len(side) == 1 for side in sides.values())
    assert out.sum() == 30


@given(
    st.lists(st.sampled_from([0, 1, 2**48 - 1, 2**48, 5 * 2**48, 5 * 2**48 + 1, 2**64 - 2, 2**64 - 1]), min_size=2),
    st.floats(0.001, 0.999),
)
def test_crowded_keys_are_drawn_as_if_all_were_sorted(numbers, fraction):
    keys = np.array(numbers, dtype=np.uint64)
    ranked, copies = np.unique(keys, return_counts=True)
    if len(ranked) == 1:
        with pytest.raises(ValueError, match="at least two differ"):
            held_out(keys, fraction)
        return
    nearest = int(np.argmin(np.abs(np.cumsum(copies)[:-1] - fraction * len(keys))))
    assert (held_out(keys, fraction) == (keys <= ranked[nearest])).all()


def test_no_division_of_copies_alone():
    with pytest.raises(ValueError, match="at least two differ"):
        held_out(keys_of(["same"] * 3), 0.5)


@pytest.mark.parametrize(
    ("characters", "fraction", "cut"), [(1000, 0.1, 900), (2, 0.01, 1), (2, 0.99, 1), (10, 0.05, 9), (101, 0.05, 96)]
)
def test_a_single_document_keeps_its_end_for_validation(characters, fraction, cut):
    assert cut_position(characters, fraction) == cut
