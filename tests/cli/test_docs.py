"""The pages of docs/ against the code: generated pages are fresh, links lead somewhere, commands and programs run."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from markdown_pages import ROOT, anchors, blocks, links, run_page

from gatewright.study import Study
from gatewright.study.metric import METRICS

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
WRITTEN = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
RUNNABLE = ("bash", "python")
WITH_COMMANDS = [page for page in PAGES if any(b.language in RUNNABLE and not b.order for b in blocks(page))]


def name(page: Path) -> str:
    return page.name


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, str(DOCS / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def generator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/generate.py, with one small page to write into a folder of its own."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "page.md.j2").write_text("# {{ title }}\n")
    monkeypatch.setattr(module, "HERE", tmp_path)
    monkeypatch.setattr(module, "PAGES", {"page.md": lambda: {"title": "Parts"}})
    return module


def test_check_notices_a_page_that_is_out_of_date_and_leaves_it_alone(
    generator: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr("sys.argv", ["generate.py"])
    assert generator.main() == 0
    assert page.read_text() == "# Parts\n"
    monkeypatch.setattr("sys.argv", ["generate.py", "--check"])
    assert generator.main() == 0
    page.write_text("# Prats\n")
    capsys.readouterr()
    assert generator.main() == 1
    assert str(page) in capsys.readouterr().out
    assert page.read_text() == "# Prats\n"


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if link.startswith(("https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(path), f"{page.name}: {link}: no such heading in {path.name}"


def test_every_page_is_on_the_map() -> None:
    assert {page.name for page in PAGES} - {"index.md"} <= set(links(DOCS / "index.md"))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name)
def test_commands_and_programs_run(page: Path, tmp_path: Path, cache: Path) -> None:
    if project := [block.text for block in blocks(page) if block.argument == "pyproject.toml"]:
        install(project[0], tmp_path)
    assert run_page(page, tmp_path, cache, one_process=True) > 0
    if page.name == "training.md":
        every_field_is_documented(tmp_path / "runs" / "first", page.read_text())


def install(project: str, folder: Path) -> None:
    """Put the entry points of a ``pyproject.toml`` where Python looks for them, as ``pip install`` would."""
    declared = tomllib.loads(project)["project"]
    info = folder / f"{declared['name'].replace('-', '_')}-{declared['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {declared['name']}\nVersion: {declared['version']}\n")
    groups = declared["entry-points"].items()
    lines = [line for group, points in groups for line in (f"[{group}]", *(f"{k} = {v}" for k, v in points.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines))


def every_field_is_documented(run: Path, page: str) -> None:
    """Each field of the files in a run directory stands on the page, as code."""
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    files = [json.loads((run / name).read_text()) for name in ("summary.json", "environment.json")]
    fields = {key for record in [*records, *files] for key in record}
    assert len(fields) > 40
    assert not [field for field in sorted(fields) if f"`{field}`" not in page]
    places = {path.name for path in run.iterdir() if not path.name.startswith(".")} - {"checkpoints"}
    assert not [place for place in sorted(places) if place not in page]


def test_every_key_and_metric_of_a_study_is_documented() -> None:
    page = (DOCS / "studies.md").read_text()
    words = {field.name for field in dataclasses.fields(Study)} | set(METRICS)
    assert not [word for word in sorted(words) if f"`{word}`" not in page]
