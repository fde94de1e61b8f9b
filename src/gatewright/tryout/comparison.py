"""The small study of a new part against its rivals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path

from rich.console import Console
from rich.text import Text

from gatewright.config import load_config
from gatewright.errors import UserError
from gatewright.plugins import Plugin
from gatewright.registry import Entry
from gatewright.study.plan import Arm, Study, override_key
from gatewright.study.runner import run_study
from gatewright.study.store import StudyFolder, plan_hash
from gatewright.study.trials import design, make_plan
from gatewright.tryout.cost_table import matched_width
from gatewright.tryout.rivals import own_arm, rivals_of

BASE = [
    "model=small",
    "data=sotu",
    "train.max_steps=300",
    "train.batch_size=8",
    "train.learning_rate=5e-3",
    "train.precision=auto",
    "train.log_every=20",
    "train.eval_every=100",
    "train.eval_tokens=65536",
    "train.save_every=300",
    "train.tensorboard=false",
]
"""What every arm has in common: with `TRIALS` of these, about five minutes on two cores."""

TRIALS = 12
EQUIVALENCE_MARGIN = 0.005


def check_request(entry: Entry, overrides: Sequence[str], seeds: int | None, out: Path | None) -> None:
    """Raise `UserError` for what can be seen to be mistaken before the part is built.

    Overrides must be right, and not of what the arms differ in; ``out`` must be free or a study's folder.
    """
    rivals = rivals_of(entry)
    if seeds is not None and seeds < 1:
        raise UserError(f"seeds={seeds}: at least one is needed")
    if out is not None and (out.is_file() or (any(out.glob("*")) and not StudyFolder(out).plan_file.exists())):
        raise UserError(f"{out} exists and is not a study's folder; choose another --out")
    for override in overrides:
        key = override_key(override)
        if key == "plugins" or f"{key}.".startswith(f"{rivals.key}."):
            raise UserError(f"'{override}' cannot hold for every arm: it is what the arms differ in")
    load_config([*BASE, *rivals.surroundings, *overrides, *rivals.arms[rivals.baseline]])


def make_study(entry: Entry, plugin: Plugin, overrides: Sequence[str], seeds: int | None) -> Study:
    """The study of ``entry`` against its rivals at matched parameters; ``overrides`` go behind `BASE`.

    Without ``seeds`` there are as many as make about `TRIALS` trials. A block that settles its width itself keeps it.
    """
    rivals = rivals_of(entry)
    base = [*BASE, *rivals.surroundings, *overrides]
    name, own = own_arm(entry, plugin)
    if entry.kind in ("gate", "feedforward"):
        model = load_config([*base, *own]).model
        reference = load_config([*base, *rivals.arms[rivals.baseline]]).model
        if matched_width(entry, model, reference) is None:
            own.append(f"model.hidden={model.n_embd}")  # what mixes with its input has the width of the model
    arms = {rival: Arm(overrides) for rival, overrides in rivals.arms.items()} | {name: Arm(own, entry.summary)}
    return Study(
        name=f"try-{entry.name}",
        about=f"{entry.kind} '{entry.name}' of {plugin.path.name} against {' and '.join(rivals.values)}",
        base=base,
        arms=arms,
        seeds=list(range(seeds if seeds is not None else max(3, TRIALS // len(arms)))),
        baseline=rivals.baseline,
        match="params",
        equivalence_margin=EQUIVALENCE_MARGIN,
    )


def compare(
    entry: Entry,
    plugin: Plugin,
    overrides: Sequence[str],
    *,
    out: Path | None,
    seeds: int | None,
    workers: int | None,
    console: Console,
) -> bool:
    """Run the study of `make_study` into ``out`` or `folder_for` it; returns whether every trial finished."""
    study = make_study(entry, plugin, overrides, seeds)
    folder = out or folder_for(study)
    console.print(Text(f"\n{len(study.arms)} arms × {len(study.seeds)} seeds, in {folder}", style="bold"))
    analysis = run_study(study, out=folder, workers=workers, console=console)
    return analysis is not None and analysis.complete


def folder_for(study: Study) -> Path:
    """``runs/<study>``, or the first of ``runs/<study>-2``, ``-3`` … that is free or holds these very designs."""
    designs = {arm: design(config) for arm, config in make_plan(study).configs.items()}
    wanted = plan_hash({"arms": json.loads(json.dumps(designs))})
    for number in count(1):
        path = Path("runs") / (study.name if number == 1 else f"{study.name}-{number}")
        folder = StudyFolder(path)
        if not path.exists() or (folder.plan_file.exists() and plan_hash(folder.plan()) == wanted):
            return path
    raise AssertionError("count() has no end")
