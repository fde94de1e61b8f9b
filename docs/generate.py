"""Write the generated pages: parts and configuration from the code, performance from the last benchmarks.

``--check`` only says whether they are up to date.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import pkgutil
import sys
import types
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hydra import compose, initialize_config_module
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from omegaconf import OmegaConf

import gatewright as gw
from gatewright.config import Config, from_dict, list_presets
from gatewright.config.compose import GROUPS, OVERLAYS
from gatewright.contract import Case
from gatewright.data.corpora import list_corpora
from gatewright.data.corpora.base import corpus_classes
from gatewright.files import write_atomic
from gatewright.parts.attention.sdpa import MEDIUM
from gatewright.registry import KINDS, Entry, entries
from gatewright.study.trials import flatten

HERE, PRESETS = Path(__file__).parent, "gatewright.config.presets"
RESULTS = HERE.parent / "benchmarks" / "results"


def describe_kind(kind: str) -> dict[str, Any]:
    """A kind of part: what all of them share, its names, and its classes with their knobs."""
    found = [entry for entry in entries(kind).values() if entry.fixed.get("gate") != entry.name]
    classes = {entry.target: [other for other in found if other.target is entry.target] for entry in found}
    return {
        "name": kind,
        "key": {"gate": "model.feedforward", "similarity": "gatewright.make_similarity"}.get(kind, f"model.{kind}"),
        "doc": inspect.getdoc(pkgutil.resolve_name(KINDS[kind])),
        "names": [describe_name(entry) for entry in found],
        "classes": [describe_class(target, family) for target, family in classes.items()],
    }


def describe_name(entry: Entry) -> dict[str, Any]:
    """One name: its aliases, its word in a model's name, and what it fixes of its class's knobs."""
    return {
        "name": entry.name,
        "aliases": entry.aliases,
        "label": getattr(Case(entry).part(), "label", ""),
        "summary": entry.summary,
        "fixed": [f"{key}={written(fixed)}" for key, fixed in entry.fixed.items() if key != "word"],
    }


def describe_class(target: type, family: list[Entry]) -> dict[str, Any]:
    """A class, under all names it is registered by, with the knobs that any of them leaves open."""
    hints = get_type_hints(target.__init__)  # type: ignore[misc]
    knobs = dict(pair for entry in family for pair in entry.knobs().items())
    rows = [(n, in_words(hints[n]), None if k.default is k.empty else written(k.default)) for n, k in knobs.items()]
    return {"names": [entry.name for entry in family], "doc": inspect.getdoc(target), "knobs": rows}


def blocks(cls: type, prefix: str = "") -> Iterator[tuple[str, list[tuple[str, str, str, str]]]]:
    """The keys of a configuration dataclass and of those inside it: ``(block, [(key, type, default, doc), …])``."""
    hints, rows, inside = get_type_hints(cls), [], []
    for field in dataclasses.fields(cls):
        key = f"{prefix}{field.name}"
        choices = (hints[field.name], *get_args(hints[field.name]))  # a block, or a block or null
        if block := next((choice for choice in choices if dataclasses.is_dataclass(choice)), None):
            inside.append((block, f"{key}."))
            continue
        part, kind = field.metadata["part"], in_words(hints[field.name])
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        rows.append((key, f"[{part}](parts.md#{part})" if part else kind, written(default), field.metadata["doc"]))
    yield prefix.removesuffix(".") or "The run", rows
    for block, name in inside:
        yield from blocks(block, name)


def presets(group: str) -> list[dict[str, Any]]:
    """Each preset of a group: the comment at the head of its file, and what it sets other than the default."""
    block = None if group in OVERLAYS else get_type_hints(Config)[group]
    found = []
    for name in list_presets(group):
        lines = files(PRESETS).joinpath(group, f"{name}.yaml").read_text(encoding="utf-8").splitlines()
        about = " ".join(line.removeprefix("# ") for line in lines if line.startswith("#"))
        with initialize_config_module(version_base="1.3", config_module=PRESETS):
            values: Any = OmegaConf.to_container(compose(overrides=[f"+{group}={name}"]))
        if block is None:  # sets keys of several blocks
            chosen, default = flatten(values[group]), {}
        else:
            chosen, default = dataclasses.asdict(from_dict(block, values[group])), dataclasses.asdict(block())
        unlike = {key: value for key, value in chosen.items() if key not in default or value != default[key]}
        sets = [f"{key}={written(value)}" for key, value in unlike.items()]
        found.append({"name": name, "about": about, "sets": sets})
    return found


def written(value: Any) -> str:
    """A value as it is written in YAML and in overrides."""
    return value if isinstance(value, str) else json.dumps(value).replace('"', "")


def in_words(annotation: Any) -> str:
    """A type annotation as Markdown."""
    options = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    words: list[str] = []
    for option in options:
        if get_origin(option) is Literal:
            words += [f"`{written(word)}`" for word in get_args(option)]
        else:
            words.append({type(None): "null", Any: "name, mapping"}.get(option) or option.__name__)
    return ", ".join(words)


def parts_page() -> dict[str, Any]:
    """What parts.md shows."""
    corpora = [{"name": name, "doc": inspect.getdoc(corpus_classes[name])} for name in list_corpora()]
    return {"kinds": [describe_kind(kind) for kind in KINDS], "corpora": corpora}


def configuration_page() -> dict[str, Any]:
    """What configuration.md shows."""
    built = {name: gw.load_config([f"model={name}"]).model for name in list_presets("model")}
    models = [(name, gw.architecture_name(model), gw.cost(model)) for name, model in built.items()]
    groups = {group: presets(group) for group in (*GROUPS, *OVERLAYS)}
    return {"blocks": list(blocks(Config)), "groups": groups, "models": models}


def performance_page() -> dict[str, Any]:
    """What performance.md shows: the benchmarks' last results, by the name of their file."""
    return {
        "results": {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))},
        "medium": MEDIUM,
    }


PAGES = {"parts.md": parts_page, "configuration.md": configuration_page, "performance.md": performance_page}


def main() -> int:
    """Write the pages or compare them with what would be written; 1 if any was found out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page is out of date")
    check, loader = parser.parse_args().check, FileSystemLoader(HERE / "templates")
    jinja = Environment(loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    jinja.filters |= {"md": lambda text: text.replace("``", "`"), "cell": lambda text: text.replace("|", r"\|")}
    stale = 0
    for name, page in PAGES.items():
        text, path = jinja.get_template(f"{name}.j2").render(page()).rstrip() + "\n", HERE / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale += 1
            print(f"{path} is out of date: run `make docs`" if check else f"writing {path}")
            if not check:
                write_atomic(path, text)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
