"""The study file: what is compared with what, over which seeds, and by which measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gatewright.errors import UserError, did_you_mean
from gatewright.reading import complaint, parse_yaml, read_text
from gatewright.schema import brief, check_keys, check_value
from gatewright.study.metric import Metric, get_metric
from gatewright.study.trial import MULTIPLE, SAFE_NAME

OWNED_BY_STUDY = {"train.seed": "list seeds under 'seeds'", "out": "use --out", "resume": "a study always resumes"}
LEARNING_RATE = "train.learning_rate"
TUNING_SEED = 1_000
FIRST_LOOK = 3


@dataclass(frozen=True)
class Arm:
    """One design: the overrides that set it apart from the study's base."""

    overrides: list[str] = field(default_factory=list)
    about: str = ""


@dataclass(frozen=True)
class Study:
    """A study as its YAML file states it.

    ``match`` resizes each arm's hidden width until the whole model has the baseline's parameters or FLOPs; an arm that
    sets ``model.hidden`` itself keeps it. ``equivalence_margin`` is relative to the baseline's mean: 0.005 is 0.5 %.

    With ``learning_rates`` each arm is first trained with every one of them on the ``tuning_seeds``, and judged with
    the one that gave it the best mean there. They are numbers, or multiples of the rate that the arm has otherwise:
    ``0.5x``. ``tuner`` says whether each rate gets every tuning seed, or the better half more of them (see
    `gatewright.study.tuning`). ``comparisons`` lists the pairs ``[arm, against]`` that are judged, one
    family; without it every arm is compared with the baseline.

    With ``sequential`` the seeds after the first three are trained one by one, and only for arms whose verdict is still
    open; p-values and intervals then hold however often one looks. ``noise`` is what the plan takes for the standard
    deviation of paired differences: a share of the baseline's mean, or the folder of an earlier study.
    """

    name: str
    baseline: str
    arms: dict[str, Arm]
    seeds: list[int]
    base: list[str] = field(default_factory=list)
    match: Literal["params", "flops", "none"] = "none"
    metric: str = "val_loss"
    equivalence_margin: float | None = None
    comparisons: list[list[str]] = field(default_factory=list)
    learning_rates: list[float | str] = field(default_factory=list)
    tuning_seeds: list[int] = field(default_factory=lambda: [TUNING_SEED])
    tuner: Literal["grid", "successive_halving"] = "grid"
    sequential: bool = False
    noise: float | str | None = None
    about: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked without building a model; raises `UserError`."""
        for what, name in [("study name", self.name), *(("arm name", arm) for arm in self.arms)]:
            if not SAFE_NAME.fullmatch(name):
                raise UserError(
                    f"{what} '{name}' cannot name a folder: use letters, digits, '_', '.', '+' or '-', at most 64, "
                    "beginning with a letter, digit or '_'"
                )
        folded = Counter(arm.casefold() for arm in self.arms)
        if clash := [arm for arm in self.arms if folded[arm.casefold()] > 1]:
            raise UserError(
                f"arms {' and '.join(map(repr, clash))} share a folder where case does not count; rename one"
            )
        if self.baseline not in self.arms:
            raise UserError(
                f"baseline '{self.baseline}' is not an arm{did_you_mean(self.baseline, self.arms)} "
                f"(arms: {', '.join(self.arms)})"
            )
        if len(self.arms) < 2:
            raise UserError(f"the only arm is the baseline '{self.baseline}'; a study compares at least two")
        if not self.seeds:
            raise UserError("seeds: at least one is needed (three or more for a verdict worth having)")
        _check_seeds("seeds", self.seeds)
        if self.sequential and len(self.seeds) <= FIRST_LOOK:
            raise UserError(
                f"sequential: the first look is at {FIRST_LOOK} seeds; list more than that, of which open verdicts draw"
            )
        self._check_tuning()
        self._check_comparisons()
        if self.equivalence_margin is not None and not 0 < self.equivalence_margin < 1:
            raise UserError(
                f"equivalence_margin={self.equivalence_margin}: expected a share of the baseline's mean, below 1 "
                "(0.005 is 0.5 %)"
            )
        get_metric(self.metric)
        for where, overrides in self._overrides():
            for override in overrides:
                if (key := override_key(override)) in OWNED_BY_STUDY:
                    raise UserError(f"{where}: '{override}' cannot be an override here: {OWNED_BY_STUDY[key]}")

    def _check_tuning(self) -> None:
        if self.tuner == "successive_halving" and (len(self.learning_rates) < 3 or len(self.tuning_seeds) < 2):
            raise UserError(
                "tuner=successive_halving saves runs where there are three learning_rates and two tuning_seeds, or more"
            )
        if not self.learning_rates:
            return
        if not self.tuning_seeds:
            raise UserError("tuning_seeds: at least one is needed to choose among learning_rates")
        _check_seeds("tuning_seeds", self.tuning_seeds)
        if shared := [seed for seed in self.tuning_seeds if seed in self.seeds]:
            raise UserError(
                f"tuning_seeds: {shared[0]} is also under seeds; a rate is not to be chosen on a seed it is judged on"
            )
        for rate in self.learning_rates:
            if not (MULTIPLE.fullmatch(rate) if isinstance(rate, str) else rate > 0):
                raise UserError(f"learning_rates: {rate} is neither a positive number nor a multiple such as 0.5x")
        values = [resolve_rate(rate, 1.0) for rate in self.learning_rates]
        if len(values) < 2 or len(set(values)) < len(values) or len({type(rate) for rate in self.learning_rates}) > 1:
            raise UserError(
                f"learning_rates={self.learning_rates}: two or more different ones are needed, "
                "all numbers or all multiples"
            )
        if isinstance(self.learning_rates[0], str):
            return
        for where, overrides in self._overrides():
            if own := [override for override in overrides if override_key(override) == LEARNING_RATE]:
                raise UserError(f"{where}: '{own[0]}' cannot hold beside learning_rates, among which every arm chooses")

    def _check_comparisons(self) -> None:
        for pair in self.comparisons:
            if len(pair) != 2 or pair[0] == pair[1]:
                raise UserError(f"comparisons: {pair} is not a pair of different arms, [arm, against]")
            for name in pair:
                if name not in self.arms:
                    raise UserError(f"comparisons: '{name}' is not an arm{did_you_mean(name, self.arms)}")
        pairs = Counter(frozenset(pair) for pair in self.comparisons)
        if repeated := [sorted(pair) for pair, times in pairs.items() if times > 1]:
            raise UserError(f"comparisons: {' and '.join(repeated[0])} are compared more than once")

    def _overrides(self) -> Iterator[tuple[str, list[str]]]:
        yield "base", self.base
        for name, arm in self.arms.items():
            yield f"arms.{name}", arm.overrides

    @property
    def judged_by(self) -> Metric:
        """The metric that decides."""
        return get_metric(self.metric)

    @property
    def challengers(self) -> list[str]:
        """The arms other than the baseline, in the file's order."""
        return [arm for arm in self.arms if arm != self.baseline]

    @property
    def family(self) -> list[tuple[str, str]]:
        """The comparisons ``(arm, against)`` that are judged and corrected together."""
        return [(arm, against) for arm, against in self.comparisons] or [
            (arm, self.baseline) for arm in self.challengers
        ]

    def to_yaml(self) -> str:
        """The study file that `load_study` reads back as this study."""
        values = {
            f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) not in (None, "", [], False)
        }
        if not self.learning_rates:
            del values["tuning_seeds"]
        if self.tuner == "grid":
            del values["tuner"]
        values["arms"] = {
            name: {"overrides": list(arm.overrides), **({"about": arm.about} if arm.about else {})}
            for name, arm in self.arms.items()
        }
        order = (
            "name", "about", "base", "seeds", "learning_rates", "tuning_seeds", "tuner", "baseline", "match", "metric",
            "equivalence_margin", "sequential", "noise", "comparisons", "arms",
        )  # fmt: skip
        ordered = {key: values[key] for key in order if key in values}
        return yaml.safe_dump(ordered, sort_keys=False, allow_unicode=True, width=120)


def load_study(path: str | Path, overrides: Iterable[str] = ()) -> Study:
    """Read a study file; ``overrides`` go behind its base and so hold for every arm.

    Everything wrong with the file is a `UserError` of one line that begins with the file's name; so is an override of
    a setting that an arm has of its own, because it could not hold for that arm.
    """
    path = Path(path)
    text = read_text(path, "the study file ")
    try:
        parse_yaml(text)  # its bounds
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    try:
        # OmegaConf's reader, unlike yaml.safe_load, refuses a key given twice and reads 5e-3 as a number
        values = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    except (ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} is not readable YAML: {complaint(error)}") from error
    try:
        return _extend(_study_from(values), list(overrides))
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _study_from(values: Any) -> Study:
    if not isinstance(values, Mapping):
        raise UserError("a study is a YAML mapping (name, base, seeds, baseline, arms)")
    hints = get_type_hints(Study)
    check_keys("", map(str, values), set(hints))
    for key in ("name", "baseline", "arms", "seeds"):
        if values.get(key) is None:
            raise UserError(f"'{key}' is missing")
    arms = values["arms"]
    if not isinstance(arms, Mapping):
        raise UserError(f"arms={brief(arms)}: expected a block of arms by name")
    arguments = {key: check_value(str(key), value, hints[key]) for key, value in values.items() if key != "arms"}
    return Study(arms={str(name): _arm_from(str(name), arm) for name, arm in arms.items()}, **arguments)


def _extend(study: Study, overrides: list[str]) -> Study:
    for override in overrides:
        for name, arm in study.arms.items():
            if clash := [own for own in arm.overrides if override_key(own) == override_key(override)]:
                raise UserError(f"'{override}' cannot hold for every arm: arm '{name}' has {clash[0]}")
    return replace(study, base=[*study.base, *overrides])


def resolve_rate(rate: float | str, base: float) -> float:
    """An entry of ``learning_rates`` as a number: ``"0.5x"`` is half of ``base``, the rate the arm has otherwise."""
    return base * float(rate.removesuffix("x")) if isinstance(rate, str) else rate


def _check_seeds(key: str, seeds: list[int]) -> None:
    if repeated := [seed for seed, count in Counter(seeds).items() if count > 1]:
        raise UserError(
            f"{key}: {repeated[0]} is listed more than once; a repeated seed is the same run, not a new one"
        )
    if min(seeds) < 0:
        raise UserError(f"{key}: {min(seeds)} is negative")


def override_key(override: str) -> str:
    """What an override sets: ``train.seed`` of ``+train.seed=1``."""
    return override.lstrip("+").partition("=")[0]


def _arm_from(name: str, values: Any) -> Arm:
    if values is None:
        return Arm()
    if not isinstance(values, Mapping):
        raise UserError(f"arms.{name}={brief(values)}: expected a block with 'overrides' (and 'about')")
    hints = get_type_hints(Arm)
    check_keys(f"arms.{name}", map(str, values), set(hints))
    return Arm(**{key: check_value(f"arms.{name}.{key}", value, hints[key]) for key, value in values.items()})
