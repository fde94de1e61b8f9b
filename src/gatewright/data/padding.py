"""Batches of sequences of different lengths, for use outside pre-training (which packs documents and never pads)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gatewright.data.evaluation import IGNORED


class PaddedBatch(NamedTuple):
    """Sequences brought to the length of the longest, T."""

    input_ids: Tensor
    """``(B, T)`` int64, ``pad_id`` where there is no token."""
    labels: Tensor
    """``(B, T)`` int64, already shifted: the token that follows; -100 on pads and where nothing follows."""
    attention_mask: Tensor
    """``(B, T)`` int64, 1 on tokens and 0 on pads."""


def pad_batch(sequences: Sequence[Sequence[int]], pad_id: int, side: Literal["right", "left"] = "right") -> PaddedBatch:
    """Pad ``sequences`` of token ids on one side; ``left`` is what generation needs, so that all end together.

    ``pad_id`` may be any token, also one that occurs in the text, because pads are told apart by position and not by
    their id. Raises `ValueError` if there is no sequence or one is empty.
    """
    if not sequences or not all(len(sequence) for sequence in sequences):
        raise ValueError("a batch needs at least one sequence, and every sequence at least one token")
    rows = [torch.tensor(list(sequence), dtype=torch.long) for sequence in sequences]
    following = [torch.cat([row[1:], row.new_tensor([IGNORED])]) for row in rows]
    present = [torch.ones_like(row) for row in rows]

    def padded(tensors: list[Tensor], value: int) -> Tensor:
        return pad_sequence(tensors, batch_first=True, padding_value=value, padding_side=side)

    return PaddedBatch(padded(rows, pad_id), padded(following, IGNORED), padded(present, 0))
