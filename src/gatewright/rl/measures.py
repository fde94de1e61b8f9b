"""What evaluations of reasoning report: accuracy with an interval, pass@k, majority votes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import hypergeom
from statsmodels.stats.proportion import proportion_confint

from gatewright.errors import UserError


def wilson_interval(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share: within [0, 1] also where all or none succeed.

    Raises `UserError` unless 0 ≤ successes ≤ count, count ≥ 1 and 0 < confidence < 1.
    """
    if not 0 <= successes <= count or count < 1:
        raise UserError(f"{successes} successes of {count}: no share has an interval there")
    if not 0 < confidence < 1:
        raise UserError(f"confidence={confidence}: must lie between 0 and 1")
    low, high = proportion_confint(successes, count, alpha=1 - confidence, method="wilson")
    return max(0.0, float(low)), min(1.0, float(high))


def pass_at_k(correct: ArrayLike, samples: ArrayLike, k: int) -> NDArray[np.float64]:
    """The chance that at least one of k of a question's samples is right: 1 − C(n−c, k) / C(n, k), unbiased.

    ``correct`` c and ``samples`` n are counts a question, of any shapes that broadcast; the result has that shape. Its
    mean over the questions is pass@k (Chen et al., 2021, https://arxiv.org/abs/2107.03374). Raises `UserError` for k
    below 1 or above a question's samples, and for more correct than samples.
    """
    c, n = np.broadcast_arrays(np.asarray(correct), np.asarray(samples))
    if k < 1 or (n < k).any():
        raise UserError(f"k={k}: must be 1 to {n.min() if n.size else 0}, the smallest number of samples of a question")
    if (c < 0).any() or (c > n).any():
        raise UserError("correct: must be 0 to the number of samples of the question")
    return np.asarray(hypergeom.sf(0, n, c, k), dtype=np.float64)


def majority_vote(answers: Sequence[Sequence[Hashable | None]]) -> NDArray[np.int64]:
    """Self-consistency: for each question the index of the first sample that gives its most frequent answer.

    ``answers[q][i]`` is what sample i of question q answers (`AnswerReward.extract`), None for nothing: no vote.
    Of answers that are equally frequent the one that occurs first wins. -1 for a question that nobody answered.
    """
    chosen = []
    for row in answers:
        votes = Counter(answer for answer in row if answer is not None)  # in the order of first occurrence
        chosen.append(list(row).index(max(votes, key=votes.__getitem__)) if votes else -1)
    return np.array(chosen, dtype=np.int64)
