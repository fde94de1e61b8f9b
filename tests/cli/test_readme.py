"""The README's promises: every command and every program in it works, in its order, in an empty folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from markdown_pages import ROOT, blocks, run_page

README = ROOT / "README.md"


@pytest.mark.timeout(600)
def test_commands_and_programs_run(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "studies").symlink_to(ROOT / "studies", target_is_directory=True)
    assert run_page(README, tmp_path, cache) >= 8


def test_the_two_commands_are_there_and_run_what_they_say() -> None:
    commands = [command for block in blocks(README) if block.language == "bash" for command in block.commands]
    assert {"make demo", "make test"} <= {command.partition("#")[0].strip() for command in commands}


def test_the_study_in_it_can_be_planned(tmp_path: Path) -> None:
    from gatewright.study import load_study
    from gatewright.study.trials import make_plan

    (study,) = [block.text for block in blocks(README) if block.language == "yaml"]
    path = tmp_path / "study.yaml"
    path.write_text(study)
    assert len(make_plan(load_study(path)).trials) == 6
