"""Any runs side by side: those of one design are an arm, and the arms are judged as those of a study are."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.errors import RunError, UserError, unknown
from gatewright.files import write_atomic
from gatewright.find import find_runs, study_place
from gatewright.reading import read_note
from gatewright.run import CONFIG, Run
from gatewright.study.analysis import Analysis, judge_family
from gatewright.study.checks import Remark, remarks
from gatewright.study.gather import ArmResult, TrialResult, run_result
from gatewright.study.group import LeftOut, arm_names, group_runs, started
from gatewright.study.metric import get_metric
from gatewright.study.plan import Arm, Study
from gatewright.study.store import StudyFolder, plan_hash
from gatewright.study.trial import Trial
from gatewright.study.trials import differences

DEFAULT_METRICS, DEFAULT_MARGIN = ("val_loss", "val_accuracy"), 0.005
"""Metrics by which runs are compared where nothing says which: the first one that one of them has."""


@dataclass(frozen=True)
class LooseStudy(Study):
    """A study that nobody planned: its arms are what the runs turn out to be, with names that need not name folders."""

    def __post_init__(self) -> None:
        """Check what can be asked for; raises `UserError`."""
        get_metric(self.metric)
        if self.equivalence_margin is not None and not 0 < self.equivalence_margin < 1:
            raise UserError(
                f"margin={self.equivalence_margin}: expected a share of the baseline's mean, below 1 (0.005 is 0.5 %)"
            )


@dataclass(frozen=True)
class RunComparison:
    """Runs compared: the analysis of them as a study, why its baseline is the baseline, and what was not looked at."""

    analysis: Analysis
    because: str
    left_out: LeftOut

    def to_dict(self) -> dict[str, Any]:
        """What ``results.json`` of a study holds, with each run's directory and the runs that were left out."""
        values = self.analysis.to_dict()
        places = {t.trial: str(t.run.path) for arm in self.analysis.arms.values() for t in arm.trials if t.run}
        for run in values["runs"]:
            run["path"] = places[Trial(run["arm"], run["seed"])]
        return values | {"left_out": [{"path": str(path), "because": because} for path, because in self.left_out]}

    def write(self, json_file: Path | None = None, csv_file: Path | None = None) -> None:
        """Write all of it as JSON, the ranking as CSV, or both; what stands there is replaced as a whole.

        Raises `UserError` for a folder and `RunError` where nothing can be written.
        """
        if json_file is not None:
            _write(json_file, json.dumps(self.to_dict(), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        if csv_file is not None:
            _write(csv_file, self.analysis.table().to_csv(index=False))


def collect_runs(places: Sequence[Path]) -> list[Run]:
    """The runs at or below each place, each once, in the order given; those of a folder by path.

    From a folder come a study's judged runs, not those among which it chose learning rates. Raises `UserError` for a
    place that holds none.
    """
    found: dict[Path, Run] = {}
    for place in places:
        paths = [place] if (place / CONFIG).is_file() else [path for path in find_runs(place) if not _tuning(path)]
        if not paths:
            raise UserError(f"there is no run directory in {place} or below it")
        for path in paths:
            found.setdefault(path.resolve(), Run(path))
    return list(found.values())


def newest_runs(folder: Path, count: int) -> list[Run]:
    """The ``count`` runs below ``folder`` that were started last, oldest first."""
    return sorted(collect_runs([folder]), key=started)[-count:]


def compare_runs(
    runs: Sequence[Run], *, baseline: str | None = None, metric: str | None = None, margin: float | None = None
) -> RunComparison:
    """Group ``runs`` into arms by their resolved design, and compare every arm with the baseline over shared seeds.

    ``baseline`` is an arm's name or the directory of one of its runs; if None, the baseline of the study that all runs
    belong to, else the arm of the first run that finished. ``metric`` and ``margin``, a share of the baseline's mean,
    are the study's too, else ``val_loss``, or ``val_accuracy`` where no run has that, and 0.005. Where a run comes from
    a sequential study, whose seeds were added by looking, everything is judged by the statistics that allow for that.

    Raises `UserError` for a baseline or metric that is not there, a margin that is no share, and when no run's
    configuration can be read.
    """
    studies = studies_of(runs)
    home = studies[0] if len(studies) == 1 else None
    groups, left_out = group_runs(runs)
    if not groups:
        raise UserError(f"none of the runs can be compared: {left_out[0][1]}")
    sound = [run for group in groups for run in group.by_seed.values()]
    judged_by = get_metric(metric or (home.metric if home else default_metric(sound)))
    results, designs = {}, {}
    for name, group in zip(arm_names(groups), groups, strict=True):
        designs[name] = group.design
        results[name] = [run_result(Trial(name, seed), run, judged_by, _noted(run)) for seed, run in group.items()]
    chosen, because = choose_baseline(runs, results, baseline, home)
    arms = {
        name: ArmResult(name, "", _settings(designs[chosen], designs[name]), trials) for name, trials in results.items()
    }
    if margin is None:
        margin = home.equivalence_margin if home else DEFAULT_MARGIN
    study = LooseStudy(
        name="comparison",
        baseline=chosen,
        arms={name: Arm(arm.overrides) for name, arm in arms.items()},
        seeds=_seeds(arms, home),
        metric=judged_by.name,
        equivalence_margin=margin,
        sequential=any(study is not None and study.sequential for study in studies),
    )
    folder = Path(os.path.commonpath([run.path.absolute() for run in runs]))
    return RunComparison(judge(study, arms, designs, folder), because, left_out)


def default_metric(runs: Sequence[Run]) -> str:
    """The first of `DEFAULT_METRICS` that a run has; the very first where none has any."""
    summaries = [run.summary or {} for run in runs]
    found = (m for m in DEFAULT_METRICS if any(s.get(get_metric(m).summary_key) is not None for s in summaries))
    return next(found, DEFAULT_METRICS[0])


def choose_baseline(
    runs: Sequence[Run], results: Mapping[str, list[TrialResult]], asked: str | None, home: Study | None
) -> tuple[str, str]:
    """The arm that the others are compared with, and why it is that one; see `compare_runs`."""
    arm_of = {t.run.path.resolve(): arm for arm, trials in results.items() for t in trials if t.run is not None}
    if asked is not None:
        arm = asked if asked in results else arm_of.get(Path(asked).resolve())
        if arm is None:
            raise unknown("arm", asked, results)
        return arm, "as asked"
    if home is not None and home.baseline in results:
        return home.baseline, "the study's baseline"
    usable = {arm for arm, trials in results.items() if any(t.value is not None for t in trials)}
    arms = [arm for run in runs if (arm := arm_of.get(run.path.resolve())) is not None]
    first = next((arm for arm in arms if arm in usable), None)
    return (first, "the arm of the first run") if first else (arms[0], "no run is finished")


def judge(study: Study, arms: dict[str, ArmResult], designs: dict[str, dict[str, Any]], folder: Path) -> Analysis:
    """The analysis of ``arms`` that lie somewhere below ``folder`` and were not planned together."""
    comparisons = judge_family(study, arms, study.seeds)
    unpaired, apart = {}, []
    for pair in study.family:
        arm, baseline = (arms[name] for name in pair)
        shared = arm.values.keys() & baseline.values.keys()
        unpaired[pair] = sorted({t.trial.seed for t in (*arm.trials, *baseline.trials)} - shared)
        if arm.n and baseline.n and not shared:
            text = f"{arm.name} and {baseline.name} have no seed in common: they cannot be compared."
            apart.append(Remark("warning", "no_shared_seed", text))
    found = remarks(study, arms, comparisons, designs, {}, [])
    return Analysis(
        study=study, folder=StudyFolder(folder), arms=arms, designs=designs, comparisons=comparisons, unpaired=unpaired,
        choices={}, remarks=[*apart, *found], plan_hash=plan_hash({"arms": designs}),
    )  # fmt: skip


def studies_of(runs: Sequence[Run]) -> list[Study | None]:
    """The studies that the runs belong to; None among them if some belong to none."""
    folders = dict.fromkeys(place.folder if (place := study_place(run.path)) else None for run in runs)
    return [StudyFolder(folder).study() if folder else None for folder in folders]


def _seeds(arms: Mapping[str, ArmResult], home: Study | None) -> list[int]:
    """All seeds: first those of the study in its order, in which a sequential one looked at them."""
    present = sorted({t.trial.seed for arm in arms.values() for t in arm.trials})
    planned = [seed for seed in home.seeds if seed in present] if home else []
    return [*planned, *(seed for seed in present if seed not in planned)]


def _settings(baseline: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """What sets a design apart from the baseline's."""
    return [f"{key}={now}" for key, _, now in differences(dict(baseline), dict(own))]


def _write(file: Path, content: str) -> None:
    if file.is_dir():
        raise UserError(f"{file} is a folder; name a file to write")
    try:
        write_atomic(file, content)
    except OSError as error:
        raise RunError(f"cannot write {file}: {error.strerror}") from error


def _noted(run: Run) -> str | None:
    """Why the process of a study's trial ended before its run was finished."""
    place = study_place(run.path)
    return None if place is None else read_note(place.error_file)


def _tuning(path: Path) -> bool:
    place = study_place(path)
    return place is not None and place.trial.rpartition("/")[2].startswith("lr-")
