"""How far a difference between two arms hangs on the validation text that happened to be scored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import UserError
from gatewright.study.gather import ArmResult

BLOCKS = 32
"""Neighbouring sequences are alike, so the text is resampled in this many stretches of neighbours."""


def text_error(a: NDArray[np.float64], b: NDArray[np.float64]) -> float | None:
    """Standard error of the difference of two arms' mean losses over the choice of text, paired by stretch of text.

    ``a`` and ``b``: ``(seeds, sequences, 2)``, sum of losses and number of tokens of each sequence, in nats. With D_k
    the difference summed over stretch k, averaged over seeds, M_k its tokens and r = ΣD/ΣM, this is the standard
    error of a ratio estimate, √(K/(K−1) · Σ(D_k − r M_k)²) / ΣM. None for fewer than two stretches.
    """
    tokens = a[0, :, 1]
    stretches = np.array_split(np.arange(len(tokens)), min(BLOCKS, len(tokens)))
    if len(stretches) < 2:
        return None
    difference = (a[..., 0] - b[..., 0]).mean(axis=0)
    d = np.array([difference[stretch].sum() for stretch in stretches])
    m = np.array([tokens[stretch].sum() for stretch in stretches])
    residual = d - d.sum() / m.sum() * m
    count = len(stretches)
    return float(np.sqrt(count / (count - 1) * np.square(residual).sum()) / m.sum())


def text_error_of(arm: ArmResult, baseline: ArmResult) -> float | None:
    """`text_error` over the seeds that two arms share; None where a run has no record of its sequences."""
    tables = [
        (mine, theirs)
        for seed in arm.values
        if seed in baseline.values
        and (mine := _sequences(arm, seed)) is not None
        and (theirs := _sequences(baseline, seed)) is not None
        and np.array_equal(mine[:, 1], theirs[:, 1])
    ]
    if not tables or any(not np.array_equal(mine[:, 1], tables[0][0][:, 1]) for mine, _ in tables):
        return None
    return text_error(np.stack([mine for mine, _ in tables]), np.stack([theirs for _, theirs in tables]))


def _sequences(arm: ArmResult, seed: int) -> NDArray[np.float64] | None:
    run = next(t.run for t in arm.trials if t.trial.seed == seed)
    try:
        return None if run is None else run.evaluated_sequences()
    except UserError:  # of which `checks.runs.records` tells
        return None
