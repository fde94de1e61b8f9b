"""Folders of synthetic studies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from bench import Bench
from synthetic_study import SyntheticStudy, finish, three_arms

from gatewright.config import Config
from gatewright.study import runner as runner_module


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., SyntheticStudy]:
    """A maker of study folders with arms ``gelu``, ``worse`` and ``same``; runs are left to the test."""

    def make(seeds: int = 4, configs: dict[str, Config] | None = None, **options: object) -> SyntheticStudy:
        return SyntheticStudy(tmp_path / "study", three_arms(seeds, **options), configs)

    return make


@pytest.fixture
def study(make_study: Callable[..., SyntheticStudy]) -> SyntheticStudy:
    """A study of which all runs are finished; see `finish`."""
    return finish(make_study())


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A bench whose studies write their numbers and no report, which would take seconds each."""
    monkeypatch.setattr(runner_module, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(runner_module, "write_files", lambda analysis: analysis.write() or analysis.folder.path)
    return Bench(tmp_path)
