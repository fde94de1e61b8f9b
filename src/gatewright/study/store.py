"""A study's folder: where things lie in it, what was planned in it, and the guard that keeps the two together.

study.yaml               the study, as it was last run
plan.json                every arm's resolved design and how the study was first going to be judged
trials/<arm>/seed-N.yaml the configuration handed to the trial;  seed-N.log  what the trial printed;
                         seed-N.error  why its process last ended before the run was finished;
                         seed-N.attempts  attempts that were lost and followed by another, a line each;
                         seed-N.job  the cluster job that runs it, or is going to
runs/<arm>/seed-N/       the trial's run directory;  lr-R-seed-N  one of those that chose the arm's learning rate
jobs/                    what SLURM's jobs are submitted with, print and leave behind
report.html, report.md, results.json, results.csv, figures/
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gatewright.config import Config, to_yaml
from gatewright.errors import UserError
from gatewright.files import write_atomic
from gatewright.study.plan import Study, load_study
from gatewright.study.planned import read_plan
from gatewright.study.trial import Trial
from gatewright.study.trials import Plan, design, differences

JUDGED_BY = ("baseline", "metric", "equivalence_margin", "comparisons", "sequential")


class StudyFolder:
    """The files of one study below ``path``."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).absolute()

    @property
    def study_file(self) -> Path:
        """The study as it was last run here."""
        return self.path / "study.yaml"

    @property
    def plan_file(self) -> Path:
        """The resolved plan that guards the folder."""
        return self.path / "plan.json"

    @property
    def figures(self) -> Path:
        """Figures as PNG and PDF."""
        return self.path / "figures"

    def run(self, trial: Trial) -> Path:
        """The trial's run directory."""
        return self.path / "runs" / trial.name

    def config_file(self, trial: Trial) -> Path:
        """The configuration handed to the trial."""
        return self.path / "trials" / f"{trial.name}.yaml"

    def log_file(self, trial: Trial) -> Path:
        """Everything the trial printed, over all its attempts."""
        return self.path / "trials" / f"{trial.name}.log"

    def error_file(self, trial: Trial) -> Path:
        """Why the trial's process last ended before its run was finished; absent if it did not."""
        return self.path / "trials" / f"{trial.name}.error"

    def attempts_file(self, trial: Trial) -> Path:
        """The trial's attempts that were lost and followed by another, a JSON record a line; absent without any."""
        return self.path / "trials" / f"{trial.name}.attempts"

    def job_file(self, trial: Trial) -> Path:
        """The cluster job that runs the trial, or is going to; absent where there is none."""
        return self.path / "trials" / f"{trial.name}.job"

    @property
    def jobs(self) -> Path:
        """What SLURM's jobs are submitted with, print and leave behind."""
        return self.path / "jobs"

    def study(self) -> Study:
        """The study this folder holds; `UserError` if it holds none."""
        if not self.study_file.is_file():
            raise UserError(f"{self.path} is not a study's folder (it has no study.yaml)")
        return load_study(self.study_file)

    def plan(self) -> dict[str, Any]:
        """The recorded plan: ``arms`` (designs by arm), ``judged_by`` (as first planned)."""
        return read_plan(self.plan_file, designs=True)

    def judgement_changes(self, study: Study) -> list[tuple[str, Any, Any]]:
        """What about the way of judging differs from the first plan: ``(key, planned, now)``."""
        planned = self.plan()["judged_by"]
        pairs = [(key, planned.get(key) or None, getattr(study, key) or None) for key in JUDGED_BY]
        return [(key, was, now) for key, was, now in pairs if was != now]

    def write_config(self, trial: Trial, config: Config) -> None:
        """Write down the configuration that a trial is about to be started with."""
        write_atomic(self.config_file(trial), to_yaml(config))

    def adopt(self, plan: Plan) -> None:
        """Make this the folder of ``plan``: begin it, or check that it goes on with what was begun.

        Arms and seeds may be added. Anything else would mix runs of different designs under one name, or drop runs that
        were made, so it is a `UserError` that names the change.
        """
        study = plan.study
        designs = {arm: design(config) for arm, config in plan.configs.items()}
        if self.plan_file.exists():
            recorded = self.plan()
            self._check(recorded, designs, study)
            recorded["arms"] = {**recorded["arms"], **designs}
            recorded["seeds"] = [*recorded["seeds"], *(seed for seed in study.seeds if seed not in recorded["seeds"])]
        else:
            judged_by = {key: getattr(study, key) for key in JUDGED_BY}
            recorded = {
                "arms": designs, "seeds": list(study.seeds), "tuning": _tuning(study), "judged_by": judged_by,
            }  # fmt: skip
        write_atomic(self.plan_file, json.dumps(recorded, indent=1, ensure_ascii=False) + "\n")
        write_atomic(self.study_file, study.to_yaml())

    def _check(self, recorded: dict[str, Any], designs: dict[str, dict[str, Any]], study: Study) -> None:
        changes = []
        for arm, old in recorded["arms"].items():
            if arm not in designs:
                changes.append(f"arm '{arm}' is gone")
                continue
            changes += [
                f"{arm}: {key} was {was}, is {now}" for key, was, now in differences(old, _as_json(designs[arm]))
            ]
        changes += [f"seed {seed} is gone" for seed in recorded["seeds"] if seed not in study.seeds]
        tuning, grid = recorded.get("tuning", {}), {"tuner": "grid"}
        changes += [f"{key} was {was}, is {now}" for key, was, now in differences(grid | tuning, grid | _tuning(study))]
        if changes:
            more = f" (and {len(changes) - 3} more)" if len(changes) > 3 else ""
            raise UserError(
                f"the study differs from the one begun in {self.path}: {'; '.join(changes[:3])}{more}. "
                "Seeds and arms may be added; for anything else choose another --out"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second `study run`; the operating system lets go when this process ends."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file; a study needs a folder")
        if self.path.is_dir() and not self.plan_file.exists() and any(e.name != ".lock" for e in self.path.iterdir()):
            raise UserError(f"{self.path} exists and is not a study's folder; choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise UserError(f"another process is running the study in {self.path}") from error
        try:
            yield
        finally:
            lock.release()


def _tuning(study: Study) -> dict[str, Any]:
    """What decides which learning rate an arm gets; empty where the study does not choose."""
    keys = ("learning_rates", "tuning_seeds") if study.learning_rates else ()
    chosen: dict[str, Any] = {key: list(getattr(study, key)) for key in keys}
    return chosen if study.tuner == "grid" else chosen | {"tuner": study.tuner}


def plan_hash(recorded: dict[str, Any]) -> str:
    """A short name for the designs of a recorded plan: equal hashes, equal arms."""
    canonical = json.dumps(recorded["arms"], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]


def _as_json(values: dict[str, Any]) -> dict[str, Any]:
    """As it would be read back: tuples become lists."""
    return dict(json.loads(json.dumps(values)))
