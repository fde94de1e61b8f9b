"""Writing the file of a new part."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from jinja2 import Environment, PackageLoader, StrictUndefined

from gatewright.errors import UserError, unknown
from gatewright.parts.alpha.parse import parse_alpha
from gatewright.plugins import hides_a_module
from gatewright.registry import KINDS, ONE_NAMESPACE, is_registered

PACKAGE = "gatewright.scaffold"
SUFFIX = ".py.j2"


def kinds() -> list[str]:
    """The kinds of part there is a file to start from for."""
    names = [file.name for file in files(PACKAGE).joinpath("templates").iterdir()]
    return sorted(name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX))


def write_part(kind: str, name: str, to: Path | None = None) -> Path:
    """Write a working part of ``kind`` called ``name`` into ``to`` (``<name>.py`` if left out); returns the path.

    Raises `UserError` for a kind without a template, a name that is taken or cannot be written in a configuration, and
    a file that exists: nothing is overwritten.
    """
    if kind not in kinds():
        raise unknown("kind of part with a file to start from", kind, kinds())
    check_name(kind, name)
    path = Path(f"{name}.py") if to is None else to
    if path.is_dir() or path.suffix != ".py":
        raise UserError(f"--to {path}: expected a file whose name ends in .py")
    if path.exists():
        raise UserError(f"{path} exists; choose another name, or another file with --to")
    if hides_a_module(path):
        raise UserError(f"{path.name} would hide the module '{path.stem}' from Python; choose another file with --to")
    environment = Environment(loader=PackageLoader(PACKAGE), undefined=StrictUndefined, keep_trailing_newline=True)
    word = "".join(each[:1].upper() + each[1:] for each in name.split("_"))
    text = environment.get_template(f"{kind}{SUFFIX}").render(name=name, word=word, cls=_class_name(kind, word))
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    return path


def check_name(kind: str, name: str) -> None:
    """Raise `UserError` unless a new part of ``kind`` can be called ``name``."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        suggestion = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_0123456789")
        near = f"; did you mean '{suggestion}'?" if suggestion else ""
        raise UserError(f"'{name}' cannot name a part: use letters, digits and '_', a letter first{near}")
    if not isinstance(OverridesParser.create().parse_override(f"key={name}").value(), str):
        raise UserError(f"'{name}' cannot name a part: in a configuration it is a value of another kind")
    if kind == "alpha" and _is_short_for_another(name):
        raise UserError(f"'{name}' cannot name an α: model.alpha={name} is short for another one and its knob")
    space = "feedforward" if kind in ONE_NAMESPACE else kind
    if is_registered(space, name):
        raise UserError(f"the name '{name}' is taken (gatewright parts {space} lists all); choose another")


def _is_short_for_another(alpha: str) -> bool:
    try:
        return parse_alpha(alpha) != {"name": alpha}
    except UserError:  # as of static_x, whose x should be a number
        return True


def _class_name(kind: str, word: str) -> str:
    """``MyGate`` for a gate called ``my`` or ``my_gate``; never the name of the base class."""
    base = KINDS[kind].partition(":")[2]
    return word if word.lower().endswith(base.lower()) and word != base else word + base
