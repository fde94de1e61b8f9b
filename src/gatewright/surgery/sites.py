"""Finding the feed-forward blocks of a model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from types import FunctionType, MethodType
from typing import Any

from torch import nn

from gatewright.errors import UserError, did_you_mean
from gatewright.schema import check_keys
from gatewright.surgery.families import FAMILIES, Layout


@dataclass(frozen=True)
class Site:
    """One feed-forward block: the modules of its `Layout`, and where its activation is held."""

    holder: nn.Module
    """The module that has the activation, whose name it is known by."""
    holder_path: str
    name: str
    """The activation's name in its holder."""
    into: nn.Module
    out: nn.Module
    value: nn.Module | None
    family: str

    @property
    def path(self) -> str:
        """Where the activation is in the model."""
        return f"{self.holder_path}.{self.name}" if self.holder_path else self.name

    @property
    def activation(self) -> Any:
        """What is called between the projections."""
        return getattr(self.holder, self.name)


def find_sites(
    model: nn.Module, path: str | None = None, layout: Layout | Mapping[str, str] | None = None
) -> list[Site]:
    """The feed-forward blocks of ``model`` in its own order, a shared one once.

    Without ``path``: those of the classes in `FAMILIES`. With it: the modules of that name, in which ``*`` stands for
    any part between two dots, laid out as ``layout`` says or like one of the known families. Raises `UserError` if
    there are none, or if a module that was named is laid out otherwise.
    """
    layout, model = _checked(layout), innermost(model)
    if path is None and layout is not None:
        raise UserError("layout is for modules named by path=, which is missing")
    found = _named(model, path, layout) if path is not None else _known(model)
    sites: dict[tuple[int, str], Site] = {}
    for site in found:
        sites.setdefault((id(site.holder), site.name), site)
    if not sites:
        known = ", ".join(FAMILIES)
        raise UserError(
            f"{type(model).__name__} has no feed-forward block of a known family ({known}); "
            "name its blocks with path=, such as path='model.layers.*.mlp'"
        )
    return list(sites.values())


def innermost(model: Any) -> Any:
    """The model inside of adapters, compilation and data parallelism: paths of modules are counted from there."""
    if hasattr(model, "get_base_model"):
        return innermost(model.get_base_model())
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        return innermost(model.module)
    return innermost(model._orig_mod) if hasattr(model, "_orig_mod") else model


def base_layer(layer: Any) -> Any:
    """The layer itself, or the one inside an adapter."""
    return layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer


def linear_size(layer: Any) -> tuple[int, int] | None:
    """Width in and width out of a linear layer, None for anything else. GPT-2's Conv1D keeps its weight transposed."""
    layer = base_layer(layer)
    if hasattr(layer, "in_features") and hasattr(layer, "out_features"):
        return int(layer.in_features), int(layer.out_features)
    if hasattr(layer, "nf") and getattr(layer, "weight", None) is not None:
        return int(layer.weight.shape[0]), int(layer.nf)
    return None


def _known(model: nn.Module) -> Iterator[Site]:
    by_class = {name: (family, layout) for family, blocks in FAMILIES.items() for name, layout in blocks.items()}
    for path, module in model.named_modules():
        name = next((base.__name__ for base in type(module).__mro__ if base.__name__ in by_class), None)
        if name is not None:
            family, layout = by_class[name]
            yield _site(module, path, layout, family)


def _named(model: nn.Module, pattern: str, layout: Layout | None) -> Iterator[Site]:
    modules = dict(model.named_modules(remove_duplicate=False))  # a shared module answers to each of its names
    matching = [path for path in modules if _matches(path, pattern)]
    if not matching:
        patterns = {re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path) for path in modules if path}
        raise UserError(
            f"path='{pattern}' matches no module of {type(model).__name__}{did_you_mean(pattern, patterns)}"
        )
    for path in matching:
        yield _site(modules[path], path, layout or _recognised(modules[path], path), "named by path")


def _matches(path: str, pattern: str) -> bool:
    parts, wanted = path.split("."), pattern.split(".")
    return all(parts) and len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))


def _recognised(module: nn.Module, path: str) -> Layout:
    """The layout of a known family whose parts ``module`` has, a gated one if it has all of them."""
    layouts = [layout for blocks in FAMILIES.values() for layout in blocks.values()]
    for layout in sorted(layouts, key=lambda layout: layout.value is None):
        if not _lacking(module, layout):
            return layout
    raise UserError(
        f"{path} ({type(module).__name__}) is not laid out like a known feed-forward block; "
        "give layout=Layout(into=…, activation=…, out=…), and value=… if it is gated"
    )


def _lacking(module: nn.Module, layout: Layout) -> list[str]:
    """The parts of ``layout`` that ``module`` does not have, or not as linear layers and something to call."""
    lacking = []
    for field in fields(Layout):
        name = getattr(layout, field.name)
        part = None if name is None else _descend(module, name)
        if field.name == "activation":
            fits = callable(part)
        else:
            fits = name is None or (isinstance(part, nn.Module) and linear_size(part) is not None)
        if not fits:
            lacking.append(f"{field.name}={name}")
    return lacking


def _site(module: nn.Module, path: str, layout: Layout, family: str) -> Site:
    if lacking := _lacking(module, layout):
        raise UserError(f"{path} ({type(module).__name__}) has no {lacking[0]}")
    inner, _, name = layout.activation.rpartition(".")
    holder_path = ".".join(part for part in (path, inner) if part)
    site = Site(
        holder=_descend(module, inner) if inner else module,
        holder_path=holder_path,
        name=name,
        into=_descend(module, layout.into),
        out=_descend(module, layout.out),
        value=None if layout.value is None else _descend(module, layout.value),
        family=family,
    )
    if not isinstance(site.activation, nn.Module) and name not in vars(site.holder):
        raise UserError(
            f"{path}: the activation '{name}' is a method of {type(site.holder).__name__}, not an attribute"
        )
    if not _is_called(site.holder, name):
        raise UserError(f"{path}: '{name}' takes no part in forward, perhaps because of a fused kernel")
    into, value = linear_size(site.into), site.value and linear_size(site.value)
    if value and value != into:
        raise UserError(f"{path}: into={layout.into} and value={layout.value} differ in size: {into} and {value}")
    return site


def _is_called(holder: nn.Module, name: str) -> bool:
    """Whether the code that runs mentions the activation; a gate would do nothing in the place of one that is idle."""
    own = vars(holder).get("forward")  # a method bound to this one module goes before the class's
    if isinstance(own, MethodType):
        functions = [own.__func__]
    else:
        classes = [kind for kind in type(holder).__mro__ if issubclass(kind, nn.Module) and kind is not nn.Module]
        functions = [member for kind in classes for member in vars(kind).values() if isinstance(member, FunctionType)]
    return any(name in inspect.unwrap(function).__code__.co_names for function in functions)


def _descend(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part, None)
    return module


def _checked(layout: Layout | Mapping[str, str] | None) -> Layout | None:
    if layout is None or isinstance(layout, Layout):
        return layout
    names = [field.name for field in fields(Layout)]
    check_keys("layout", layout, names)
    if missing := [name for name in names[:3] if name not in layout]:
        raise UserError(f"layout.{missing[0]} is missing")
    return Layout(**layout)
