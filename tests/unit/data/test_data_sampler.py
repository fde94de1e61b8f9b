"""Training batches: a pure function of seed and step, every window once an epoch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.data import BlockSampler, prepare
from gatewright.errors import UserError

TOKENS = np.arange(1000, dtype=np.uint16)
"""Each token is its own position."""


def test_shapes_types_and_shifted_labels():
    input_ids, labels = BlockSampler(TOKENS, block_size=16, batch_size=4, seed=0).batch(3)
    assert input_ids.shape == labels.shape == (4, 16)
    assert input_ids.dtype == labels.dtype == torch.int64
    assert input_ids.is_contiguous()
    assert labels.is_contiguous()
    assert torch.equal(labels, (input_ids + 1) % 1000)
    assert torch.equal(input_ids[:, 1:], labels[:, :-1])


def test_a_batch_hangs_on_seed_and_step_alone():
    forward = BlockSampler(TOKENS, 16, 4, seed=5)
    batches = [forward.batch(step) for step in range(60)]
    for step in reversed(range(60)):
        fresh = BlockSampler(TOKENS, 16, 4, seed=5)
        for sampler in (forward, fresh):
            assert all(map(torch.equal, sampler.batch(step), batches[step]))
    other = BlockSampler(TOKENS, 16, 4, seed=6)
    assert not torch.equal(other.batch(0)[0], batches[0][0])


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 40), st.integers(0, 200), st.integers(1, 9), st.integers(0, 3))
def test_every_window_of_an_epoch_is_seen_once_before_the_next(block_size, extra, batch_size, seed):
    count = block_size + 1 + extra
    sampler = BlockSampler(np.arange(count, dtype=np.uint32), block_size, batch_size, seed)
    windows = sampler.windows_per_epoch
    assert windows == count // block_size
    steps = -(-3 * windows // batch_size)
    rows = torch.cat([sampler.batch(step)[0] for step in range(steps)])[: 3 * windows]
    for epoch in range(3):
        seen = rows[epoch * windows : (epoch + 1) * windows].flatten()
        assert len(seen.unique()) == windows * block_size  # windows of an epoch do not overlap
    assert len(seen) > count - block_size  # and leave out less than one


def test_the_edges_of_windows_move_from_epoch_to_epoch():
    sampler = BlockSampler(TOKENS, 100, 10, seed=0)
    edges = {tuple(sorted(set((sampler.batch(epoch)[0][:, 0] % 100).tolist()))) for epoch in range(8)}
    assert len(edges) > 4
    orders = [sampler.window_starts(10 * epoch, 10 * epoch + 10) // 100 for epoch in range(8)]
    assert len({tuple(order) for order in orders}) == 8


def test_all_tokens_are_trained_on_alike():
    """Over many epochs no position is favoured: what an epoch leaves out is somewhere else each time."""
    sampler = BlockSampler(np.arange(107), 10, 10, seed=0)
    seen = torch.cat([sampler.batch(step)[1].flatten() for step in range(2000)])
    counts = torch.bincount(seen, minlength=107)
    expected = 2000 * 100 / 107
    assert counts.min() > 0.97 * expected
    assert counts.max() < 1.03 * expected


def test_micro_batches_hold_the_rows_of_the_large_batch():
    large = BlockSampler(TOKENS, 16, 8, seed=1)
    small = BlockSampler(TOKENS, 16, 2, seed=1)
    for step in (0, 7, 20):  # 20 lies across the end of an epoch
        parts = [small.batch(4 * step + micro) for micro in range(4)]
        assert torch.equal(torch.cat([part[0] for part in parts]), large.batch(step)[0])


def test_ranks_take_their_rows():
    sampler = BlockSampler(TOKENS, 16, 8, seed=1)
    input_ids, labels = sampler.batch(9)
    for start, stop in ((0, 3), (3, 8), (7, 8)):
        rows = sampler.rows(9, start, stop)
        assert torch.equal(rows[0], input_ids[start:stop])
        assert torch.equal(rows[1], labels[start:stop])
    for step, start, stop in ((-1, 0, 8), (0, 4, 4), (0, 0, 9)):
        with pytest.raises(ValueError, match="batches of 8"):
            sampler.rows(step, start, stop)


def test_epochs_are_counted():
    sampler = BlockSampler(TOKENS, 100, 4, seed=0)
    assert sampler.windows_per_epoch == 10
    assert sampler.epoch(0) == 0
    assert sampler.epoch(5) == 2.0


def test_too_little_text_names_the_corpus(tmp_path, files_config):
    path = tmp_path / "short.txt"
    path.write_text("a few words only")
    data = prepare(files_config(path))
    with pytest.raises(UserError, match=r"short.txt, train: \d+ tokens are too few .* block_size \+ 1 = 65"):
        BlockSampler(data.train, 64, 2, seed=0)
    BlockSampler(np.arange(65), 64, 2, seed=0).batch(0)


@pytest.mark.parametrize("wrong", [{"block_size": 0}, {"batch_size": 0}, {"seed": -1}])
def test_wrong_sizes_are_named(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        BlockSampler(TOKENS, **{"block_size": 4, "batch_size": 2, "seed": 0, **wrong})


def test_from_prepared_tokens(jsonl, files_config):
    train = prepare(files_config(jsonl)).train
    input_ids, labels = BlockSampler(train, 32, 4, seed=0).batch(0)
    starts = BlockSampler(train, 32, 4, seed=0).window_starts(0, 4)
    ring = np.concatenate([train[:], train[:]])
    for row, start in enumerate(starts):
        assert input_ids[row].tolist() == ring[start : start + 32].tolist()
        assert labels[row].tolist() == ring[start + 1 : start + 33].tolist()


def test_an_epoch_is_shuffled_once(monkeypatch):
    drawn = []
    default_rng = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: drawn.append(seed) or default_rng(seed))
    sampler = BlockSampler(TOKENS, 10, 8, seed=3)  # 100 windows: batch 12 lies across the end of an epoch
    for step in range(25):
        sampler.batch(step)
    assert drawn == [(3, 0), (3, 1)]
