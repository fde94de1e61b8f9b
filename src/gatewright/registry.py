"""The registry: a part is a class in a file of its own that registers itself under a kind and a name.

    @register("norm", "rmsnorm")
    class RMSNorm(Norm): ...

Nobody edits a list. Every module below `HOMES` is imported when a part is first looked up, and so is every
entry point of the group ``gatewright.parts`` that another installed package declares.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_type_hints

from gatewright.errors import RunError, UserError, unknown
from gatewright.schema import brief, check_keys, check_value

KINDS = {
    "norm": "gatewright.parts.norms.base:Norm",
    "activation": "gatewright.parts.activations.base:Activation",
    "position": "gatewright.parts.positions.base:Position",
    "attention": "gatewright.parts.attention.base:Attention",
    "norm_position": "gatewright.parts.residuals.base:Residual",
    "feedforward": "gatewright.parts.feedforward.base:FeedForward",
    "gate": "gatewright.parts.gates.base:Gate",
    "alpha": "gatewright.parts.alpha.base:Alpha",
    "init": "gatewright.parts.inits.base:Init",
    "similarity": "gatewright.paths.similarities.base:Similarity",
}
"""Each kind of part and the class all parts of that kind derive from."""

HOMES = ("gatewright.parts", "gatewright.paths.similarities")
"""The packages whose modules are imported to find what registers itself."""

PLUGINS = "gatewright.parts"
"""The group of entry points under which other packages offer parts."""

ONE_NAMESPACE = ("feedforward", "gate")
"""Kinds that share their names, because a gate is a feed-forward too."""

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Entry:
    """One registered part: its class, and the knobs that this name fixes (``swiglu`` is ``glu`` with SiLU)."""

    kind: str
    name: str
    target: Any  # a class derived from the base of its kind
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def aliases(self) -> list[str]:
        """Other names that find this part."""
        return [alias for alias, name in _aliases[self.kind].items() if name == self.name]

    @property
    def summary(self) -> str:
        """First line of the class's docstring."""
        return (inspect.getdoc(self.target) or "").partition("\n")[0]

    def knobs(self) -> dict[str, inspect.Parameter]:
        """The keyword-only arguments a user may set, by name."""
        return {name: knob for name, knob in _keyword_only(self.target).items() if name not in self.fixed}


_entries: dict[str, dict[str, Entry]] = {kind: {} for kind in KINDS}
_aliases: dict[str, dict[str, str]] = {kind: {} for kind in KINDS}


def register(kind: str, name: str, *aliases: str, **fixed: Any) -> Callable[[T], T]:
    """Class decorator: make a part known as ``name`` (and ``aliases``), with ``fixed`` knobs if it is one of a family.

    A gate is registered as a feed-forward too: the block whose two streams it joins. Raises `TypeError` for a class
    that does not derive from its kind's base, and `UserError` for a name that is taken.
    """
    if kind not in KINDS:
        raise unknown("kind of part", kind, KINDS)

    def decorate(target: T) -> T:
        base = _load(KINDS[kind])
        if not issubclass(target, base):
            raise TypeError(f"{target.__name__} is registered as {kind} '{name}' but is not a {base.__name__}")
        for taken in (name, *aliases):
            for space in ONE_NAMESPACE if kind in ONE_NAMESPACE else (kind,):
                other = _entries[space].get(_aliases[space].get(taken, taken))
                if other and (space != kind or _place(other.target) != _place(target)):
                    raise UserError(
                        f"{kind} '{taken}' is registered twice: by {_place(other.target)} and by {_place(target)}"
                    )
        _entries[kind][name] = Entry(kind, name, target, fixed)
        _aliases[kind].update(dict.fromkeys(aliases, name))
        return target

    return decorate


@contextmanager
def collecting() -> Iterator[list[Entry]]:
    """Collect what is registered inside, for reading afterwards; if the inside fails, the registry is as before it."""
    _discover()
    before = {kind: (dict(_entries[kind]), dict(_aliases[kind])) for kind in KINDS}
    found: list[Entry] = []
    try:
        yield found
    except BaseException:
        for kind, (known, aliases) in before.items():
            _entries[kind], _aliases[kind] = known, aliases
        raise
    found += [e for kind in KINDS for name, e in _entries[kind].items() if before[kind][0].get(name) is not e]


def forget(entry: Entry) -> None:
    """Take a part out of the registry, with its aliases, so that another version of it can come in."""
    for alias in entry.aliases:
        del _aliases[entry.kind][alias]
    del _entries[entry.kind][entry.name]


def find(kind: str, name: str) -> Entry:
    """The entry of a part; `UserError` with the nearest name if there is none."""
    known, name = entries(kind), _own_name(kind, name)
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]


def is_registered(kind: str, name: str) -> bool:
    """Whether `find` would find a part."""
    known = entries(kind)
    return _own_name(kind, name) in known


def entries(kind: str) -> dict[str, Entry]:
    """Everything registered under ``kind``, by name, sorted."""
    if kind not in KINDS:
        raise unknown("kind of part", kind, KINDS)
    _discover()
    known = dict(_entries[kind])
    if kind == "feedforward":
        gated = known["gated"]
        known |= {n: Entry(kind, n, gated.target, {"gate": n}) for n in _entries["gate"] if n not in known}
    return dict(sorted(known.items()))


def list_parts(kind: str) -> list[str]:
    """Names registered under ``kind`` (``norm``, ``activation``, ``position``, …), sorted."""
    return list(entries(kind))


def create(kind: str, spec: Any, dims: Any, *, required: Iterable[str] = (), **context: Any) -> Any:
    """Build a part from its specification.

    ``spec`` is a name or a mapping with ``name`` and knobs. ``context`` holds what the surroundings can offer (an
    activation, a width, an α); a part takes from it what its constructor names and what is not None, and knobs in
    ``spec`` win over it. What is offered under a ``required`` name must be taken, so that nothing asked for is ignored.
    Raises `UserError` for unknown names and knobs and for values of the wrong type.
    """
    name, knobs = split_spec(kind, spec)
    entry = find(kind, name)
    accepted = entry.knobs()
    name = entry.name
    where = f"{kind} '{name}'"
    for key in knobs:
        if key in entry.fixed:
            raise UserError(f"{where} fixes {key}={entry.fixed[key]}")
    check_keys(where, knobs, set(accepted))
    hints = _type_hints(entry.target)
    checked = {key: check_value(f"{where}.{key}", value, hints.get(key, Any)) for key, value in knobs.items()}
    offered = {key: value for key, value in context.items() if value is not None and key in accepted}
    for key in set(context) & set(entry.fixed):
        if context[key] not in (None, entry.fixed[key]):
            raise UserError(f"{where} fixes {key}={entry.fixed[key]}, but {key}={context[key]!r} is set")
    for key in required:
        if context.get(key) is not None and key not in accepted:
            raise UserError(f"{where} has no {key}, but {key}={context[key]!r} is set")
    return entry.target(dims, **{**offered, **checked, **entry.fixed})


def split_spec(kind: str, spec: Any) -> tuple[str, dict[str, Any]]:
    """``rope`` → ``("rope", {})``; ``{"name": "rope", "theta": 5e5}`` → ``("rope", {"theta": 5e5})``."""
    if isinstance(spec, str):
        return spec, {}
    if isinstance(spec, Mapping) and isinstance(spec.get("name"), str):
        return spec["name"], {k: v for k, v in spec.items() if k != "name"}
    raise UserError(f"{kind}={brief(spec)}: expected a name or a mapping with 'name'")


def _own_name(kind: str, name: str) -> str:
    aliases = _aliases["gate"] | _aliases[kind] if kind == "feedforward" else _aliases[kind]
    return aliases.get(name, name)


def _place(target: type) -> str:
    return f"{target.__module__}.{target.__qualname__}"


@cache
def _keyword_only(target: type) -> dict[str, inspect.Parameter]:
    parameters = inspect.signature(target).parameters
    return {name: knob for name, knob in parameters.items() if knob.kind is knob.KEYWORD_ONLY}


@cache
def _type_hints(target: type) -> dict[str, Any]:
    return get_type_hints(target.__init__)  # type: ignore[misc]


@cache
def _discover() -> None:
    for home in HOMES:
        package = importlib.import_module(home)
        for module in pkgutil.walk_packages(package.__path__, prefix=f"{home}."):
            importlib.import_module(module.name)
    for point in entry_points(group=PLUGINS):
        try:
            point.load()
        except Exception as error:
            raise RunError(f"cannot load the parts of another package, '{point.value}': {error!r}") from error


def _load(path: str) -> type:
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)
