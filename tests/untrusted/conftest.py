"""A run and a study to be damaged."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest
import torch
from samples import write_run, write_study, write_text

from gatewright.run import Run


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def cheap_collections() -> None:
    """Statsmodels collects garbage at every correction, which looks through all modules there are."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache of its own."""
    folder = tmp_path_factory.mktemp("untrusted")
    os.environ["GATEWRIGHT_CACHE"] = str(folder / "cache")
    return folder


@pytest.fixture(scope="session")
def text(place: Path) -> Path:
    return write_text(place / "text")


@pytest.fixture(scope="session")
def run(place: Path, text: Path) -> Run:
    return write_run(place / "run", text)


@pytest.fixture(scope="session")
def study(place: Path, text: Path, run: Run) -> Path:
    return write_study(place / "study", text, run)
