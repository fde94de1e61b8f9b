"""Warnings about the evidence: the noise of the validation text, and studies without an ordinary arm."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from synthetic_study import BASELINE_LOSSES, SyntheticStudy

from gatewright.run import EVALUATION
from gatewright.study.analysis import Analysis, analyse
from gatewright.study.statistics import compare_paired
from gatewright.study.trial import Trial
from gatewright.study.wording import headline

SEQUENCES, TOKENS = 640, 128


def score_sequences(study: SyntheticStudy, arm: str, seed: int, loss: float, text: np.ndarray) -> None:
    """Write the losses of every sequence: their mean is ``loss``, and ``text`` says how they differ."""
    nll = (loss + text - text.mean()) * TOKENS
    table = np.stack([nll, np.full(SEQUENCES, float(TOKENS))], axis=-1)
    np.save(study.folder.run(Trial(arm, seed)) / EVALUATION, table)


def with_text(study: SyntheticStudy, hard: float) -> Analysis:
    """A study in which ``worse`` differs from ``gelu`` by 0.05 with a seed noise of 0.01, and by text with ``hard``."""
    draw = np.random.default_rng(0)
    text, own = draw.normal(0, 0.5, SEQUENCES), draw.normal(0, hard, SEQUENCES)
    for seed, loss in enumerate(BASELINE_LOSSES):
        other = loss + 0.05 + 0.01 * (-1) ** seed
        study.run("gelu", seed, loss)
        study.run("worse", seed, other)
        study.run("same", seed, loss)
        score_sequences(study, "gelu", seed, loss, text)
        score_sequences(study, "worse", seed, other, text + own)
        score_sequences(study, "same", seed, loss, text)
    return analyse(study.folder.path)


def test_text_noise_that_is_not_small_is_a_warning(make_study: Callable[..., SyntheticStudy]) -> None:
    analysis = with_text(make_study(), hard=0.3)
    (warning,) = [r for r in analysis.remarks if r.code == "text_noise"]
    assert warning.level == "warning"
    assert warning.text.startswith("worse against gelu")
    text, seeds = map(float, re.findall(r"\((\d\.\d+) %\)", warning.text))
    assert text == pytest.approx(100 * 0.3 / np.sqrt(SEQUENCES) / np.mean(BASELINE_LOSSES), rel=0.1)
    assert seeds == 0.16  # the standard deviation is 0.0115, over √4 and 3.68
    assert "Raise train.eval_tokens" in warning.text


def test_text_noise_that_is_small_is_told_in_the_note(make_study: Callable[..., SyntheticStudy]) -> None:
    analysis = with_text(make_study(), hard=0.01)
    assert not [r for r in analysis.remarks if r.code == "text_noise"]
    (note,) = [r for r in analysis.remarks if r.code == "evaluation"]
    assert "would move a difference by a standard error of 0.01" in note.text


def test_runs_without_recorded_sequences_say_that_it_is_not_known(study: SyntheticStudy) -> None:
    (note,) = [r for r in analyse(study.folder.path).remarks if r.code == "evaluation"]
    assert "was not measured" in note.text


@pytest.mark.parametrize("gated", [["gelu", "worse", "same"], ["worse", "same"]])
def test_a_study_of_gates_needs_an_arm_without_one(make_study: Callable[..., SyntheticStudy], gated: list[str]) -> None:
    study = make_study(seeds=2)
    for arm in ("gelu", "worse", "same"):
        for seed in range(2):
            study.run(arm, seed, 3.7 + 0.01 * seed, alpha={"0": (0.5, 0.6)} if arm in gated else None)
    codes = [r.code for r in analyse(study.folder.path).remarks]
    assert ("no_plain_arm" in codes) == ("gelu" in gated)


def test_an_unshared_rate_is_only_noted_where_nothing_chose_it(study: SyntheticStudy) -> None:
    assert "rate_shared" in [r.code for r in analyse(study.folder.path).remarks]


def test_the_headline_of_pairs_names_what_was_shown(make_study: Callable[..., SyntheticStudy]) -> None:
    study = make_study(comparisons=[["worse", "same"], ["same", "gelu"]])
    for seed, loss in enumerate(BASELINE_LOSSES):
        study.run("gelu", seed, loss)
        study.run("worse", seed, loss * (1.02 + 0.001 * (seed % 2)))
        study.run("same", seed, loss * (1 + 0.02 * (-1) ** seed))
    analysis = analyse(study.folder.path)
    assert headline(analysis.comparisons, "gelu") == "2 of 2 comparisons are open."
    assert {(c.arm, c.baseline) for c in analysis.comparisons} == {("worse", "same"), ("same", "gelu")}


def test_the_headline_of_many_pairs_counts_arms_that_fare_alike() -> None:
    values = np.array(BASELINE_LOSSES)
    worse = [compare_paired(values + 0.1 * (1 + 0.1 * values), values, arm=f"a{i}", baseline="plain") for i in range(4)]
    same = compare_paired(values, values, arm="a1", baseline="a0", margin=0.01)
    assert headline([*worse, same], "plain") == "4 arms are worse than plain; a1 is equivalent to a0."
    assert headline([*worse[:2], same], "plain") == "a0 and a1 are worse than plain; a1 is equivalent to a0."
