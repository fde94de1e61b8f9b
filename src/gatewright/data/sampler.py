"""Training batches as a pure function of seed and step."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data.token_array import TokenArray
from gatewright.errors import UserError

KEPT_EPOCHS = 2
"""Orders kept in memory: a batch can lie across the end of an epoch."""


class BlockSampler:
    """Windows of T tokens in a shuffled order, epoch after epoch.

    The N tokens are taken as a ring (the last document's separator precedes the first document, as between any other
    two). Epoch e has a generator of its own, seeded with (seed, e): it draws an offset in [0, N), from which
    W = N // T windows of T inputs lie side by side, and a permutation of these windows. So every window of an epoch is
    seen once before the next epoch begins, the edges of windows fall elsewhere each time, and fewer than T tokens,
    other ones each time, are left out of an epoch.

    Batch s holds the windows s·B to s·B + B - 1 of this endless sequence. It hangs on (seed, s) alone: nothing has to
    be stored to resume, and M batches of B rows hold the same windows as one of M·B.

    Raises `UserError` for fewer than T + 1 tokens, for sizes below 1 and for a negative seed.
    """

    def __init__(self, tokens: TokenArray | NDArray[Any], block_size: int, batch_size: int, seed: int) -> None:
        self.label = tokens.label if isinstance(tokens, TokenArray) else "the corpus"
        self._tokens = tokens if isinstance(tokens, TokenArray) else np.asarray(tokens)
        for name, value, least in (("block_size", block_size, 1), ("batch_size", batch_size, 1), ("seed", seed, 0)):
            if value < least:
                raise UserError(f"{name}={value}: must be at least {least}")
        if len(self._tokens) < block_size + 1:
            raise UserError(
                f"{self.label}: {len(self._tokens)} tokens are too few for one window of "
                f"block_size + 1 = {block_size + 1}; use more text or a smaller model.block_size"
            )
        self.block_size = block_size
        self.batch_size = batch_size
        self.seed = seed
        self.windows_per_epoch = len(self._tokens) // block_size
        self._orders: OrderedDict[int, tuple[int, NDArray[Any]]] = OrderedDict()

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """``input_ids`` and ``labels`` of batch ``step``: ``(B, T)`` each, int64, ``labels[:, t]`` follows input t."""
        return self.rows(step, 0, self.batch_size)

    def rows(self, step: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows ``start`` to ``stop - 1`` of ``batch(step)``, and no others: ``(stop - start, T)`` each.

        For a data-parallel process that takes its share of the global batch.
        """
        if step < 0 or not 0 <= start < stop <= self.batch_size:
            raise ValueError(f"step {step}, rows {start}:{stop} of batches of {self.batch_size}")
        first = step * self.batch_size
        return self.windows(first + start, first + stop)

    def windows(self, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Windows ``first`` to ``last - 1`` of the sequence: ``input_ids``, ``labels``, ``(last - first, T)`` each."""
        begins, length = self.window_starts(first, last), self.block_size + 1
        if isinstance(self._tokens, TokenArray):
            blocks = self._tokens.windows(begins, length)
        else:
            blocks = self._tokens.take(begins[:, None] + np.arange(length), mode="wrap").astype(np.int64)
        # Copies, so that both are contiguous.
        return torch.from_numpy(blocks[:, :-1].copy()), torch.from_numpy(blocks[:, 1:].copy())

    def epoch(self, step: int) -> float:
        """Passes over the corpus that were finished before batch ``step``."""
        return step * self.batch_size / self.windows_per_epoch

    def window_starts(self, first: int, last: int) -> NDArray[np.int64]:
        """Where the windows ``first`` to ``last - 1`` of the sequence begin: ``(last - first,)``, in [0, N)."""
        parts = []
        while first < last:
            epoch, begin = divmod(first, self.windows_per_epoch)
            end = min(begin + last - first, self.windows_per_epoch)
            offset, order = self._order(epoch)
            parts.append((offset + order[begin:end].astype(np.int64) * self.block_size) % len(self._tokens))
            first += end - begin
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _order(self, epoch: int) -> tuple[int, NDArray[Any]]:
        """Offset and permutation of an epoch."""
        if epoch not in self._orders:
            rng = np.random.default_rng((self.seed, epoch))
            offset = int(rng.integers(len(self._tokens)))
            small = self.windows_per_epoch < 2**32
            windows = np.arange(self.windows_per_epoch, dtype=np.uint32 if small else np.uint64)
            rng.shuffle(windows)
            self._orders[epoch] = offset, windows
            while len(self._orders) > KEPT_EPOCHS:
                self._orders.popitem(last=False)
        return self._orders[epoch]
