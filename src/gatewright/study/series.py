"""Curves over training, aligned across an arm's seeds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatewright.study.gather import ArmResult
from gatewright.study.libraries import pd

Axis = Literal["tokens", "step"]
"""What seeds are aligned by. Runs that generate what they learn from have read unequal tokens by an equal step."""


@dataclass(frozen=True)
class Curves:
    """One quantity over training: ``values[s, i]`` of seed ``seeds[s]`` at ``x[i]``, in tokens or steps."""

    x: NDArray[np.float64]
    seeds: list[int]
    values: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over seeds."""
        return self.values.mean(axis=0)

    def against(self, other: Curves, *, relative: bool = True) -> Curves:
        """The paired difference from ``other`` over the seeds and places both have, times 100.

        ``relative`` makes it a percentage of ``other``, of which there is none where that is 0 for a seed: such places
        are left out. Otherwise it is that of two shares in percentage points.
        """
        seeds = [seed for seed in self.seeds if seed in other.seeds]
        x, mine, theirs = np.intersect1d(self.x, other.x, return_indices=True)
        a = self.values[[self.seeds.index(s) for s in seeds]][:, mine]
        b = other.values[[other.seeds.index(s) for s in seeds]][:, theirs]
        if not relative:
            return Curves(x, seeds, 100 * (a - b))
        some = (b != 0).all(axis=0)
        return Curves(x[some], seeds, 100 * (a[:, some] / b[:, some] - 1))

    def __bool__(self) -> bool:
        return self.values.size > 0


def evaluations(arm: ArmResult, key: str, axis: Axis = "tokens") -> Curves:
    """An evaluation quantity such as ``val_loss`` of the arm's usable runs."""
    return _align(
        {t.trial.seed: t.run.eval_records() for t in arm.trials if t.run is not None and t.value is not None}, key, axis
    )


def training(arm: ArmResult, key: str = "loss", axis: Axis = "tokens", smooth_over: int = 20) -> Curves:
    """A training quantity, smoothed by an exponential average with a span of ``smooth_over`` records."""
    curves = _align(_train_records(arm), key, axis)
    if not curves:
        return curves
    smoothed = pd.DataFrame(curves.values.T).ewm(span=smooth_over).mean().to_numpy().T
    return Curves(curves.x, curves.seeds, smoothed)


def alphas(arm: ArmResult, axis: Axis = "tokens") -> dict[str, Curves]:
    """α by layer over training; empty for arms without α."""
    records = _train_records(arm)
    layers = dict.fromkeys(layer for rows in records.values() for row in rows for layer in (row.get("alpha") or {}))
    flat = {seed: [{axis: row.get(axis), **(row.get("alpha") or {})} for row in rows] for seed, rows in records.items()}
    return {layer: _align(flat, layer, axis) for layer in layers}


def _train_records(arm: ArmResult) -> dict[int, list[dict[str, Any]]]:
    return {t.trial.seed: t.run.train_records() for t in arm.trials if t.run is not None and t.value is not None}


def _align(records: dict[int, list[dict[str, Any]]], key: str, axis: Axis) -> Curves:
    columns = {
        seed: pd.Series(
            {row[axis]: row[key] for row in rows if row.get(axis) is not None and row.get(key) is not None}, dtype=float
        )
        for seed, rows in records.items()
    }
    frame = pd.DataFrame({seed: column for seed, column in columns.items() if len(column)}).dropna()
    return Curves(
        frame.index.to_numpy(dtype=float), [int(seed) for seed in frame.columns], frame.to_numpy(dtype=float).T
    )
