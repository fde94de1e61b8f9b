"""A study folder that a finished study of three arms would have left."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_study import SyntheticStudy

from gatewright.study.plan import Arm, Study

BASELINE_LOSSES = [3.676, 3.681, 3.690, 3.672]


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., SyntheticStudy]:
    """A maker of study folders with arms ``gelu`` (baseline), ``worse`` and ``same``; runs are left to the test."""

    def make(seeds: int = 4, configs: dict | None = None, **options: object) -> SyntheticStudy:
        arms = {"gelu": Arm([], "plain"), "worse": Arm(["model.feedforward=pagelu"]), "same": Arm(["model.init=gpt2"])}
        values = {"equivalence_margin": 0.01, **options}
        study = Study("demo", "gelu", arms, list(range(seeds)), **values)
        return SyntheticStudy(tmp_path / "study", study, configs)

    return make


@pytest.fixture
def study(make_study: Callable[..., SyntheticStudy]) -> SyntheticStudy:
    """All twelve runs finished: ``worse`` is 2 % worse, ``same`` within 0.1 %."""
    study = make_study()
    for seed, loss in enumerate(BASELINE_LOSSES):
        study.run("gelu", seed, loss)
        study.run("worse", seed, loss * (1.02 + 0.001 * (seed % 2)), alpha={"0": (0.5, 0.8), "1": (0.5, 0.9)})
        study.run("same", seed, loss * (1 + 0.0005 * (-1) ** seed))
    return study
