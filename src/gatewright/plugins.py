"""Parts in files of one's own, named by ``plugins`` in a configuration and known by their content.

A file is executed where a configuration that names it is composed, trained or turned into a model again, and only
there: reading a run's configuration or writing a study's report executes nothing.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from gatewright.errors import UserError, did_you_mean
from gatewright.registry import Entry, collecting, forget


@dataclass(frozen=True)
class Plugin:
    """A loaded file: what was executed, and what it registered."""

    path: Path
    source: bytes
    entries: tuple[Entry, ...]

    @property
    def sha256(self) -> str:
        """The fingerprint of its content."""
        return hashlib.sha256(self.source).hexdigest()


_loaded: dict[Path, Plugin] = {}


def load_plugins(named: Any) -> dict[str, str]:
    """Load files of parts; returns ``{absolute path: SHA-256}``, as a configuration records it.

    ``named`` is such a mapping, whose files must still have these contents, or a list of paths, relative to the current
    folder, taken as they are now. Raises `UserError` naming the file, and the line where something in it fails.
    """
    if isinstance(named, Mapping):
        recorded = {str(path): content for path, content in named.items()}
    elif isinstance(named, list) and all(isinstance(path, str) for path in named):
        recorded = dict.fromkeys(named)
    else:
        raise UserError(f"plugins={named!r}: expected a list of files, such as plugins=[my_gate.py]")
    if len({Path(path).name for path in recorded}) < len(recorded):
        raise UserError(f"plugins={[*recorded]}: two files have one name; rename one")
    try:
        plugins = [load_plugin(path, content) for path, content in recorded.items()]
    except UserError as error:
        raise UserError(f"plugins: {error}") from error
    return {str(plugin.path): plugin.sha256 for plugin in plugins}


def load_plugin(path: str | Path, sha256: str | None = None) -> Plugin:
    """Load one file, as `load_plugins` does; one that is loaded already is executed again only if it has changed."""
    path = Path(path).absolute()
    try:
        source = path.read_bytes()
    except FileNotFoundError as error:
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.py")])
        raise UserError(f"there is no file {path}{near}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    found = hashlib.sha256(source).hexdigest()
    if sha256 is not None and sha256 != found:
        raise UserError(
            f"{path} has changed: its SHA-256 is {found[:12]}…, not {str(sha256)[:12]}… as recorded; "
            f"put it back as it was, or name it anew (plugins=[{path}]) for a new run"
        )
    if path not in _loaded or _loaded[path].source != source:
        _loaded[path] = _execute(path, source)
    return _loaded[path]


def loaded_contents() -> set[str]:
    """The SHA-256 sums of the files that are loaded."""
    return {plugin.sha256 for plugin in _loaded.values()}


def hides_a_module(path: Path) -> bool:
    """Whether Python, started in the file's folder, would import it in place of an installed module of that name."""
    spec = importlib.util.find_spec(path.stem) if path.stem.isidentifier() else None
    return spec is not None and spec.origin is not None and Path(spec.origin) != path.absolute()


def _execute(path: Path, source: bytes) -> Plugin:
    """Run ``source`` as a module, so that its classes can be pickled and its lines stand in tracebacks."""
    name = f"gatewright_plugin_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:
        raise UserError(f"{path} is not a Python file")
    module, before = importlib.util.module_from_spec(spec), sys.modules.get(name)
    try:
        with collecting():  # so that nothing stays of a file in which anything fails
            for entry in _loaded[path].entries if path in _loaded else ():
                forget(entry)
            sys.modules[name] = module
            with collecting() as entries:
                exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
            for entry in entries:
                get_type_hints(entry.target.__init__)
    except (Exception, SystemExit) as error:
        sys.modules.pop(name)
        if before is not None:
            sys.modules[name] = before
        raise UserError(f"{path}{_place(error, path)}: {_reason(error)}") from error
    return Plugin(path, source, tuple(entries))


def _place(error: BaseException, path: Path) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    return f", line {lines[-1]}" if lines and lines[-1] else ""


def _reason(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    return " ".join(f"{type(error).__name__}: {text}".split())
