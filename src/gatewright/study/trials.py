"""From a study to its trials: every arm's whole configuration, matched, checked, and given each seed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.config import Config, load_config
from gatewright.errors import UserError
from gatewright.study.plan import Study, override_key, resolve_rate
from gatewright.study.trial import Trial


@dataclass(frozen=True)
class Plan:
    """A study with every arm's configuration resolved (for the first seed, without a place to write to)."""

    study: Study
    configs: dict[str, Config]

    @property
    def trials(self) -> list[Trial]:
        """Every trial, in the order in which they run."""
        return trials_of(self.study)

    def config(self, trial: Trial, out: Path, learning_rate: float | None = None) -> Config:
        """The configuration of one trial, writing to ``out`` and continuing what is there.

        ``learning_rate`` is the one chosen for the arm, where a study chooses.
        """
        config = self.configs[trial.arm]
        rate = learning_rate or config.train.learning_rate
        if trial.learning_rate is not None:
            rate = resolve_rate(trial.learning_rate, config.train.learning_rate)
        train = dataclasses.replace(config.train, seed=trial.seed, learning_rate=rate)
        return dataclasses.replace(config, train=train, out=str(out), resume="auto")


def trials_of(study: Study) -> list[Trial]:
    """Every trial of a study: first those that choose learning rates, then those that are judged.

    The latter go seed by seed, so that a study stopped half-way has whole pairs.
    """
    tuning = [trial for arm in study.arms for trial in tuning_trials(study, arm)]
    return [*tuning, *(Trial(arm, seed) for seed in study.seeds for arm in study.arms)]


def tuning_trials(study: Study, arm: str) -> list[Trial]:
    """The trials among which the arm's learning rate is chosen; none where the study names no rates."""
    return [Trial(arm, seed, rate) for rate in study.learning_rates for seed in study.tuning_seeds]


def make_plan(study: Study) -> Plan:
    """Resolve and check the configuration of every arm; a `UserError` names the arm it comes from.

    Files of parts have to be named by the user before: a study file may be anybody's.
    """
    configs = {}
    for name, arm in study.arms.items():
        try:
            overrides = [*study.base, *arm.overrides, f"train.seed={study.seeds[0]}"]
            configs[name] = load_config(overrides, named_by_user=False)
        except UserError as error:
            raise UserError(f"arm '{name}': {error}") from error
        if configs[name].train.compile == "auto":
            configs[name].train.compile = False  # by its own length, one arm might be compiled and another not
    if study.match != "none":
        for name, config in configs.items():
            if config.init is not None:
                raise UserError(f"arm '{name}': init={config.init} has its own sizes; say match: none")
        from gatewright.model.matching import match_model  # needs torch, which reading a study does not

        reference = configs[study.baseline].model
        for name in study.challengers:
            if not _sets_width(study.arms[name].overrides):
                configs[name].model = match_model(configs[name].model, reference, study.match)
    return Plan(study, configs)


def _sets_width(overrides: list[str]) -> bool:
    return any(override_key(override) == "model.hidden" for override in overrides)


NOT_THE_DESIGN = ("out", "resume", "device", "train.seed", "train.threads")
"""Settings that may differ between trials of one arm: they say where and when it runs, not what it is."""


def design(config: Config) -> dict[str, Any]:
    """What makes an arm the arm it is, as one flat mapping of dotted keys."""
    return {key: value for key, value in flatten(dataclasses.asdict(config)).items() if key not in NOT_THE_DESIGN}


def flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    """``(key, old value, new value)`` wherever two designs differ; a key that one lacks counts as the default."""
    defaults = design(Config())
    keys = dict.fromkeys([*old, *new])
    pairs = [(key, old.get(key, defaults.get(key)), new.get(key, defaults.get(key))) for key in keys]
    return [(key, before, after) for key, before, after in pairs if before != after]
