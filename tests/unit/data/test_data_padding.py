"""Padded batches: pads are no targets, on whichever side."""

from __future__ import annotations

import pytest

from gatewright.data import pad_batch

SEQUENCES = [[5, 6, 7], [8], [9, 0]]


def test_right_padding():
    batch = pad_batch(SEQUENCES, pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 0, 0], [9, 0, 0]]
    assert batch.labels.tolist() == [[6, 7, -100], [-100, -100, -100], [0, -100, -100]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]


def test_left_padding_lets_all_end_together():
    batch = pad_batch(SEQUENCES, pad_id=0, side="left")
    assert batch.input_ids.tolist() == [[5, 6, 7], [0, 0, 8], [0, 9, 0]]
    assert batch.labels.tolist() == [[6, 7, -100], [-100, -100, -100], [-100, 0, -100]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1]]


@pytest.mark.parametrize("sequences", [[], [[1], []]])
def test_nothing_to_pad(sequences):
    with pytest.raises(ValueError, match="at least one"):
        pad_batch(sequences, pad_id=0)
