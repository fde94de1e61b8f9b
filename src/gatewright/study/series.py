"""Curves over training, aligned across an arm's seeds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gatewright.study.gather import ArmResult


@dataclass(frozen=True)
class Curves:
    """One quantity over training: ``values[s, i]`` of seed ``seeds[s]`` at ``tokens[i]``."""

    tokens: NDArray[np.float64]
    seeds: list[int]
    values: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean over seeds."""
        return self.values.mean(axis=0)

    def against(self, other: Curves) -> Curves:
        """The paired difference from ``other`` in percent of it, over the seeds and tokens both have."""
        seeds = [seed for seed in self.seeds if seed in other.seeds]
        tokens, mine, theirs = np.intersect1d(self.tokens, other.tokens, return_indices=True)
        a = self.values[[self.seeds.index(s) for s in seeds]][:, mine]
        b = other.values[[other.seeds.index(s) for s in seeds]][:, theirs]
        return Curves(tokens, seeds, 100 * (a / b - 1))

    def __bool__(self) -> bool:
        return self.values.size > 0


def evaluations(arm: ArmResult, key: str) -> Curves:
    """An evaluation quantity such as ``val_loss`` of the arm's usable runs."""
    return _align(
        {t.trial.seed: t.run.eval_records() for t in arm.trials if t.run is not None and t.value is not None}, key
    )


def training(arm: ArmResult, key: str = "loss", smooth_over: int = 20) -> Curves:
    """A training quantity, smoothed by an exponential average with a span of ``smooth_over`` records."""
    curves = _align(
        {t.trial.seed: t.run.train_records() for t in arm.trials if t.run is not None and t.value is not None}, key
    )
    if not curves:
        return curves
    smoothed = pd.DataFrame(curves.values.T).ewm(span=smooth_over).mean().to_numpy().T
    return Curves(curves.tokens, curves.seeds, smoothed)


def alphas(arm: ArmResult) -> dict[str, Curves]:
    """α by layer over training; empty for arms without α."""
    records = {t.trial.seed: t.run.train_records() for t in arm.trials if t.run is not None and t.value is not None}
    layers = dict.fromkeys(layer for rows in records.values() for row in rows for layer in (row.get("alpha") or {}))
    flat = {
        seed: [{"tokens": row["tokens"], **(row.get("alpha") or {})} for row in rows] for seed, rows in records.items()
    }
    return {layer: _align(flat, layer) for layer in layers}


def _align(records: dict[int, list[dict]], key: str) -> Curves:
    columns = {
        seed: pd.Series({row["tokens"]: row[key] for row in rows if row.get(key) is not None}, dtype=float)
        for seed, rows in records.items()
    }
    frame = pd.DataFrame({seed: column for seed, column in columns.items() if len(column)}).dropna()
    return Curves(
        frame.index.to_numpy(dtype=float), [int(seed) for seed in frame.columns], frame.to_numpy(dtype=float).T
    )
