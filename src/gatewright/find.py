"""Finding run directories below a folder, and which study, if any, they belong to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gatewright.errors import UserError
from gatewright.run import CONFIG
from gatewright.study.planned import read_plan
from gatewright.study.trial import Trial

DEPTH = 6
"""Levels searched: ``./runs/<study>/runs/<arm>/seed-N`` is five below ``.``"""


@dataclass(frozen=True)
class StudyPlace:
    """Where a run stands in its study's folder: ``runs/<trial>`` there, with its files at ``trials/<trial>.…``."""

    folder: Path
    trial: str

    @property
    def config_file(self) -> Path:
        """The configuration handed to the trial."""
        return self.folder / "trials" / f"{self.trial}.yaml"

    @property
    def error_file(self) -> Path:
        """Why the trial's process last ended before its run was finished; absent if it did not."""
        return self.folder / "trials" / f"{self.trial}.error"


def is_study(folder: Path) -> bool:
    """Whether ``folder`` is a study's."""
    return (folder / "study.yaml").is_file() and (folder / "plan.json").is_file()


def study_place(run: Path) -> StudyPlace | None:
    """The study's folder that ``run`` lies in, and its place there; None for a run on its own."""
    run = run.absolute()
    for above in run.parents[:DEPTH]:
        if above.name == "runs" and is_study(above.parent):
            return StudyPlace(above.parent, run.relative_to(above).as_posix())
    return None


def planned_trials(study: Path) -> Iterator[str]:
    """The names of all trials that a study's folder has planned, begun or not; `UserError` if it is damaged."""
    plan = read_plan(study / "plan.json")
    tuning = plan["tuning"]
    for arm in plan["arms"]:
        for rate in tuning.get("learning_rates", ()):
            yield from (Trial(arm, seed, rate).name for seed in tuning["tuning_seeds"])
        yield from (Trial(arm, seed).name for seed in plan["seeds"])


def find_runs(folder: Path, *, planned: bool = False) -> list[Path]:
    """Every run directory at or up to six levels below ``folder``, by path; ``planned``: and those still to come.

    The latter are the places of trials that a study has planned and not begun. Raises `UserError` if there is no such
    folder.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    found: set[Path] = set()
    top = len(folder.parts)
    for place, folders, files in os.walk(folder, followlinks=True):
        here = Path(place)
        if CONFIG in files:
            found.add(here)
        if planned and is_study(here):
            found.update(here / "runs" / trial for trial in planned_trials(here))
        deep = CONFIG in files or len(here.parts) - top >= DEPTH
        folders[:] = [] if deep else [name for name in folders if not name.startswith(".")]
    return sorted(found)
