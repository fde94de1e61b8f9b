"""Runs of one design are an arm: grouping them, and finding each arm a name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from gatewright.errors import UserError
from gatewright.find import study_place
from gatewright.run import CONFIG, Run
from gatewright.study.trials import design

LeftOut = list[tuple[Path, str]]
"""Runs that are not looked at, and why."""


@dataclass
class Group:
    """Runs with one resolved configuration, apart from seed and place: one run a seed."""

    design: dict[str, Any]
    by_seed: dict[int, Run] = field(default_factory=dict)

    @property
    def first(self) -> Run:
        """The run that was named first."""
        return next(iter(self.by_seed.values()))

    def items(self) -> list[tuple[int, Run]]:
        """Seeds and runs, by seed."""
        return sorted(self.by_seed.items())


def group_runs(runs: Sequence[Run]) -> tuple[list[Group], LeftOut]:
    """The groups, in the order of their first runs, and the runs left out.

    Left out are runs whose files cannot be read, and repetitions: of several runs with one design and one seed
    the newest that finished stays, since the others would count as evidence twice.
    """
    groups: dict[str, Group] = {}
    left_out: LeftOut = []
    for run in runs:
        try:
            own, seed = design(run.config), run.config.train.seed
            _ = run.summary, run.environment
        except UserError as error:
            left_out.append((run.path, str(error)))
            continue
        group = groups.setdefault(json.dumps(own, sort_keys=True, default=str), Group(own))
        other = group.by_seed.get(seed)
        if other is None:
            group.by_seed[seed] = run
            continue
        kept, dropped = sorted((other, run), key=lambda r: (r.status == "finished", started(r)), reverse=True)
        group.by_seed[seed] = kept
        left_out.append((dropped.path, f"it repeats {kept.path} (same design, same seed)"))
    return list(groups.values()), left_out


def started(run: Run) -> tuple[datetime, datetime]:
    """For putting runs in order: when the run was first started, to the second, and when it was last begun."""
    begun = datetime.fromtimestamp((run.path / CONFIG).stat().st_mtime).astimezone()
    try:
        return datetime.fromisoformat(run.environment["time"]).astimezone(), begun
    except (UserError, KeyError, TypeError, ValueError, OverflowError):  # damaged, or from before it was recorded
        return begun, begun


def arm_names(groups: Sequence[Group]) -> list[str]:
    """A name for each group, all different.

    An arm of a study is called as it is there, any other by its architecture. Groups of one name are told apart by
    their studies and then by as few settings as will do, such as ``learning_rate=0.003``; where these are all that
    tells the groups apart, they are the whole name.
    """
    plain = [_plain_name(group) for group in groups]
    named = [_with_study(group) if plain.count(name) > 1 else name for name, group in zip(plain, groups, strict=True)]
    names = []
    for name, group in zip(named, groups, strict=True):
        alike = [other for other, own in zip(groups, named, strict=True) if own == name]
        settings = _settings(group, alike) if len(alike) > 1 else ""
        names.append(settings if len(alike) == len(groups) > 1 else f"{name} {settings}".strip())
    return [f"{name} ({names[:i].count(name) + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def _plain_name(group: Group) -> str:
    run = group.first
    place = study_place(run.path)
    if place is not None:
        return place.trial.rpartition("/")[0] or place.trial
    known = (run.summary or {}).get("architecture") or run.environment.get("architecture")
    return str(known or run.name)


def _with_study(group: Group) -> str:
    place = study_place(group.first.path)
    return f"{place.folder.name}/{_plain_name(group)}" if place else _plain_name(group)


def _settings(group: Group, alike: Sequence[Group]) -> str:
    """The settings that tell ``group`` from all others of ``alike``, the same keys for each of these."""
    keys = dict.fromkeys(key for other in alike for key in other.design)
    values = {key: [str(other.design.get(key)) for other in alike] for key in keys}
    chosen: list[str] = []
    told_apart = 1
    for key in sorted(values, key=lambda key: -len(set(values[key]))):
        kinds = len(set(zip(*(values[k] for k in (*chosen, key)), strict=True)))
        if kinds > told_apart:
            chosen, told_apart = [*chosen, key], kinds
    last = Counter(key.rpartition(".")[2] for key in chosen)
    shown = [key.rpartition(".")[2] if last[key.rpartition(".")[2]] == 1 else key for key in chosen]
    return ", ".join(f"{name}={group.design.get(key)}" for name, key in zip(shown, chosen, strict=True))
