"""Training batches from several corpora, as a pure function of seed and step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data.mixture import Mixture
from gatewright.data.sampler import BlockSampler
from gatewright.errors import UserError

PERIOD = 10_000
"""Rows after which every source has had exactly its share; shares are rounded to this."""


class MixtureSampler:
    """Rows of T tokens, each from one source; every source is walked through as `BlockSampler` does.

    Row r of the endless sequence belongs to the source that is then furthest behind its share, so that no source is
    ever more than two rows ahead of its share or behind it, and after `PERIOD` rows each has had exactly its share.
    (Independent draws would give a small source some per cent too much in one run and too little in the next.) Which
    source that is, and how many rows it has had before, hangs on r alone, and the window it gives on that number and
    the seed. So batch s, rows s·B to s·B + B − 1, hangs on (seed, s) alone: nothing has to be stored to resume.

    Raises `UserError` for a share of less than half a row in `PERIOD`, and whatever `BlockSampler` does.
    """

    def __init__(self, mixture: Mixture, block_size: int, batch_size: int, seed: int) -> None:
        self.batch_size = batch_size
        self.names = list(mixture.parts)
        self._samplers = [BlockSampler(part.train, block_size, batch_size, seed) for part in mixture.parts.values()]
        self._rows = rows_of_a_period(mixture.shares)
        self._turns, self._before = take_turns(self._rows)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """``input_ids`` and ``labels`` of batch ``step``, ``(B, T)`` each, as `BlockSampler.batch`."""
        return self.rows(step, 0, self.batch_size)

    def rows(self, step: int, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Rows ``start`` to ``stop - 1`` of ``batch(step)``, and no others: ``(stop - start, T)`` each."""
        if step < 0 or not 0 <= start < stop <= self.batch_size:
            raise ValueError(f"step {step}, rows {start}:{stop} of batches of {self.batch_size}")
        first = step * self.batch_size
        sources, numbers = self.origins(first + start, first + stop)
        found = [
            (np.flatnonzero(sources == source), sampler.windows(int(own[0]), int(own[-1]) + 1))
            for source, sampler in enumerate(self._samplers)
            if len(own := numbers[sources == source])
        ]
        order = torch.from_numpy(np.argsort(np.concatenate([places for places, _ in found])))
        input_ids, labels = (torch.cat([windows[i] for _, windows in found])[order] for i in (0, 1))
        return input_ids, labels

    def origins(self, first: int, last: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of rows ``first`` to ``last - 1`` of the sequence: the number of the source, and that of its window."""
        periods, places = np.divmod(np.arange(first, last), len(self._turns))
        sources = self._turns[places]
        return sources, periods * self._rows[sources] + self._before[places]

    def epochs(self, steps: int) -> dict[str, float]:
        """Passes over each source that ``steps`` batches make."""
        periods, rest = divmod(steps * self.batch_size, len(self._turns))
        rows = periods * self._rows + np.bincount(self._turns[:rest], minlength=len(self._rows))
        windows = [sampler.windows_per_epoch for sampler in self._samplers]
        return {name: float(own / all_) for name, own, all_ in zip(self.names, rows, windows, strict=True)}


def rows_of_a_period(shares: Mapping[str, float]) -> NDArray[np.int64]:
    """How many rows each source has in the shortest period that `PERIOD` is a multiple of."""
    exact = PERIOD * np.array(list(shares.values()))
    rows = np.floor(exact + 1e-9).astype(np.int64)
    for source in np.argsort(rows - exact, kind="stable")[: PERIOD - rows.sum()]:  # largest remainders first
        rows[source] += 1
    for name, number in zip(shares, rows.tolist(), strict=True):
        if number == 0:
            raise UserError(f"data.sources.{name}.weight: less than one row in {PERIOD:,}; leave it out or raise it")
    found: NDArray[np.int64] = rows // math.gcd(*rows.tolist())
    return found


def take_turns(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each row of a period its source, the one furthest behind its share, and how many that has had before."""
    period = int(rows.sum())
    due, had = np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.int64)
    turns, before = np.empty(period, dtype=np.int64), np.empty(period, dtype=np.int64)
    for row in range(period):
        due += rows
        source = int(due.argmax())
        due[source] -= period
        turns[row], before[row] = source, had[source]
        had[source] += 1
    return turns, before
