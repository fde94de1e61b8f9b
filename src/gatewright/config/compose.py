"""From presets and overrides to a `Config`: Hydra's grammar and presets, our checks.

Hydra composes the presets (``model=llama data=sotu``) and parses the overrides. The values are applied and checked
here, after the presets and in the order given: an override must always win, ``model.position.theta=5e5``
has to work whether the preset wrote ``rope`` or ``{name: rope}``, and a mistyped key deserves the nearest one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf

from gatewright.config.config import Config, from_dict
from gatewright.config.model import ModelConfig
from gatewright.errors import UserError, unknown
from gatewright.plugins import load_plugins, recall_plugins
from gatewright.reading import parse_yaml, read_text

GROUPS = ("model", "data", "train")
OVERLAYS = ("scale", "rl")
"""Groups of presets that set several blocks together (size, text and budget; a recipe of reinforcement learning). They
go on top of the others, whichever these are, in this order."""

SYNONYMS = {"rl.steps": "train.max_steps"}
"""Names by which a setting is called where another word is the usual one."""

PRESETS = "gatewright.config.presets"


def list_presets(group: str) -> list[str]:
    """Names that ``group=NAME`` accepts."""
    return sorted(
        p.name.removesuffix(".yaml") for p in files(PRESETS).joinpath(group).iterdir() if p.name.endswith(".yaml")
    )


def load_config(
    overrides: Iterable[str] = (), config_file: str | Path | None = None, *, named_by_user: bool = True
) -> Config:
    """The configuration that presets, an optional file, and overrides give; all of it checked.

    ``load_config(["model=llama", "model.n_layer=4", "data=sotu", "train.max_steps=200"])``. ``scale=laptop`` sets size,
    text and budget together, on top of these, and ``rl=grpo`` a recipe of reinforcement learning. With ``config_file``
    (such as the ``config.yaml`` of a run) that file takes the place of the default presets. Files under ``plugins`` are
    executed where overrides name them, and else have to be named already (see `gatewright.plugins`); so have all with
    ``named_by_user=False``, for overrides from a file. Raises `UserError`.
    """
    parsed = _parse(overrides)
    chosen = {o.key_or_group: str(o.value()) for o in parsed if _is_preset(o)}
    defaults = asdict(Config())
    values = _read(Path(config_file)) if config_file else defaults
    names = {group: chosen.get(group, "default") for group in GROUPS if group in chosen or not config_file}
    names |= {group: chosen[group] for group in OVERLAYS if group in chosen}
    for group, preset in _presets(names).items():
        if group in GROUPS:
            values[group] = {**defaults[group], **preset}
        else:
            for key, value in _leaves(preset):
                _assign(values, key, value)
    assigned = [o for o in parsed if not _is_preset(o)]
    naming = any(override.key_or_group.partition(".")[0] == "plugins" for override in assigned)
    if naming:
        values["plugins"] = {}
    for override in assigned:
        _assign(values, SYNONYMS.get(override.key_or_group, override.key_or_group), _plain(override.value()))
    if "plugins" in values:
        values["plugins"] = (load_plugins if naming and named_by_user else recall_plugins)(values["plugins"])
    config = from_dict(Config, values)
    config.validate()
    keys = {key for override in assigned for key in _keys(override.key_or_group, _plain(override.value()))}
    if "model.vocab_size" in keys and "data.vocabulary" not in keys:
        config.data.vocabulary = "model"
    if config.init is None and config.patch is None:
        _settle_model(config.model, keys)
    else:
        from gatewright.pretrained.settle import settle

        settle(config, keys, chosen)
    return config


def _parse(overrides: Iterable[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            raise UserError(f"cannot read '{text}' (expected key=value): {str(error).splitlines()[0]}") from error
        if override.is_delete():
            raise UserError(f"'{text}': keys cannot be removed; set the key to null")
        if override.package is not None:
            raise UserError(f"'{text}': a preset has one place; write {override.key_or_group}=NAME")
        if override.is_sweep_override():
            raise UserError(f"'{text}' is a sweep; one run takes one value (several belong into a study's arms)")
        parsed.append(override)
    return parsed


def _is_preset(override: Override) -> bool:
    return override.key_or_group in (*GROUPS, *OVERLAYS) and isinstance(override.value(), str)


def _presets(names: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The presets of these names, by group and in the order given."""
    for group, name in names.items():
        if name not in list_presets(group):
            raise unknown(f"{group} preset", name, list_presets(group))
    return copy.deepcopy(_composed(tuple(names.items())))


@cache
def _composed(names: tuple[tuple[str, str], ...]) -> dict[str, dict[str, Any]]:
    if not names:
        return {}
    GlobalHydra.instance().clear()
    with initialize_config_module(version_base="1.3", config_module=PRESETS):
        composed = compose(overrides=[f"+{group}={name}" for group, name in names])  # all at once: it takes a while
    values = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(values, dict)
    return {group: dict(values[group] or {}) for group, _ in names}


def _leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values, so that setting one knob of a part leaves the part's other knobs alone."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _read(path: Path) -> dict[str, Any]:
    text = read_text(path, "configuration ")
    try:
        return parse_yaml(text)
    except UserError as error:
        raise UserError(f"cannot read configuration {path}: {error}") from error


def _plain(value: Any) -> Any:
    """Hydra's parsed value without its quoting wrappers."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return getattr(value, "text", value)


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = values
    for depth, name in enumerate(parents):
        child = node.get(name)
        block = ".".join(parents[: depth + 1])
        if isinstance(child, (str, float, int)) and (depth > 0 or name == "task"):
            child = {"name": child}  # a part given by name only now gets a knob
        if isinstance(child, list):
            raise UserError(f"{key}: '{block}' is a list; set the whole list")
        if child is not None and not isinstance(child, dict):
            raise UserError(f"{key}: '{block}' is one value ({child}), it has no keys")
        node[name] = child = {} if child is None else child
        node = child
    if isinstance(value, dict) and isinstance(node.get(last), dict) and "name" not in value:
        node[last] = {**node[last], **value}
    else:
        node[last] = value


def _keys(key: str, value: Any) -> set[str]:
    """All keys that an assignment touches: ``a.b={c: 1}`` touches ``a``, ``a.b`` and ``a.b.c``."""
    parts = key.split(".")
    touched = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return touched | ({f"{key}.{name}" for name in value} if isinstance(value, dict) else set())


def _settle_model(model: ModelConfig, assigned: set[str]) -> None:
    """Check the model's parts by building it without memory, and record the activation it really uses."""
    from gatewright.model.build import build, effective_activation

    if "model.activation" not in assigned:
        model.activation = effective_activation(model)
    build(model, device="meta")
