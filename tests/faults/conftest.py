"""A small run that nothing disturbed, and the table of faults that the tests fill in as they see them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from fault_table import Seen, Table
from processes import gatewright
from workplace import Workplace

from gatewright.files import write_atomic

OPTION = "--write-fault-table"
TABLE = pytest.StashKey[Table]()
WORDS = ["the", "gate", "opens", "a", "little", "when", "signal", "asks", "and", "closes", "again"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """For ``make faults``."""
    parser.addoption(OPTION, type=Path, default=None, help="write the table of faults to this page")


def pytest_configure(config: pytest.Config) -> None:
    """An empty table."""
    config.stash[TABLE] = Table()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """The page says what was seen, so it is written only when every test has passed and none was left out."""
    page = session.config.getoption(OPTION, default=None)
    if page is None or exitstatus != pytest.ExitCode.OK:
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter.stats.get("skipped") or reporter.stats.get("deselected"):
        reporter.write_line(f"{page} is as it was: not every fault was seen here")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    else:
        write_atomic(page, session.config.stash[TABLE].page())


@pytest.fixture(scope="session")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few documents, and a cache for what is made of them."""
    folder = tmp_path_factory.mktemp("faults")
    os.environ["GATEWRIGHT_CACHE"] = str(folder / "cache")
    draw = random.Random(0)
    (folder / "text").mkdir()
    for number in range(20):
        (folder / "text" / f"{number:02}.txt").write_text(" ".join(draw.choices(WORDS, k=60)))
    return folder / "text"


@pytest.fixture
def workplace(tmp_path: Path, text: Path) -> Workplace:
    return Workplace(tmp_path, text)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, text: Path) -> Path:
    """The run that all others have to equal in the end."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = gatewright(folder, *Workplace(folder, text).words("run"))
    assert ended.status == 0, ended.said
    return folder / "run"


@pytest.fixture
def seen(request: pytest.FixtureRequest, tmp_path: Path, text: Path) -> Seen:
    places = {f"{tmp_path}/": "", str(tmp_path): ".", f"{text.parent}/": ""}
    writing = request.config.getoption(OPTION, default=None) is not None
    page = None if writing else (Path(__file__).parents[2] / "docs" / "faults.md").read_text(encoding="utf-8")
    return Seen(request.config.stash[TABLE], places, page)
