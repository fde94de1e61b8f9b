"""Parts in files of one's own, named by ``plugins`` in a configuration and known by their content.

A file is a program, so it is executed only if the user names it: in an override (``plugins=[mine.py]``), on the
command line (``--plugin mine.py``), in the environment (`NAMED`), or by calling `load_plugins`. What a configuration, a
run or a study says of files is a wish: it is met by a named file of that very content, or refused. So nothing that was
copied from elsewhere can bring its own code along.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
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
        return _sha256(self.source)


NAMED = "GATEWRIGHT_PLUGINS"
"""The environment variable that names files, separated as in PATH. Files that were loaded are added to it, so that
processes started from here may load them too."""

_loaded: dict[Path, Plugin] = {}


def load_plugins(named: Any) -> dict[str, str]:
    """Load files of parts that the user names; returns ``{absolute path: SHA-256}``, as a configuration records it.

    ``named`` is a list of paths, relative to the current folder. Raises `UserError` naming the file, and the line where
    something in it fails.
    """
    paths = _paths(named)
    try:
        plugins = [load_plugin(path) for path in paths]
    except UserError as error:
        raise UserError(f"plugins: {error}") from error
    return {str(plugin.path): plugin.sha256 for plugin in plugins}


def name_plugins(files: Iterable[str | Path]) -> None:
    """Let what names these files have them: they are executed when a configuration, a run or a study asks for one."""
    for file in files:
        _read(file)
        _name(Path(file).absolute())


def recall_plugins(recorded: Any) -> dict[str, str]:
    """For what a configuration or a study names: see that files of that content are loaded, as the user named them.

    ``recorded`` is what `load_plugins` gave, or a list of paths. Returns the mapping with the files' present places.
    Raises `UserError` for a content that the user has not named; that file is not executed.
    """
    paths = _paths(recorded)
    if not paths:
        return {}
    contents = recorded if isinstance(recorded, Mapping) else {path: _sha256(_read(path)) for path in paths}
    return {str(plugin.path): plugin.sha256 for plugin in (_recalled(path, contents[path]) for path in paths)}


def _recalled(path: str, content: Any) -> Plugin:
    by_content = {plugin.sha256: plugin for plugin in _loaded.values()}
    if content in by_content:
        return by_content[content]
    named = {file: _sha256(file.read_bytes()) for name in _named() if (file := Path(name)).is_file()}
    for file, found in named.items():
        if found == content:
            return load_plugin(file)
    for file, found in named.items():
        if file.name == Path(path).name:
            raise UserError(
                f"plugins: {file} has changed: its SHA-256 is {found[:12]}…, not {str(content)[:12]}… as recorded; "
                f"put it back as it was, or name it anew (plugins=[{file}]) for a new run"
            )
    raise UserError(
        f"plugins: this needs parts from {path} (SHA-256 {str(content)[:12]}…), a program that nobody has named here; "
        f"if you trust it, name it: gatewright --plugin {Path(path).name} …, or {NAMED}={Path(path).name}"
    )


def _paths(named: Any) -> list[str]:
    if not isinstance(named, (list, Mapping)) or not all(isinstance(path, str) for path in named):
        raise UserError(f"plugins={named!r}: expected a list of files, such as plugins=[my_gate.py]")
    if len({Path(path).name for path in named}) < len(named):
        raise UserError(f"plugins={[*named]}: two files have one name; rename one")
    return list(named)


def load_plugin(path: str | Path) -> Plugin:
    """Load a file that the user names; one that is loaded already is executed again only if it has changed."""
    source = _read(path)
    path = Path(path).absolute()
    if path not in _loaded or _loaded[path].source != source:
        _loaded[path] = _execute(path, source)
    _name(path)
    return _loaded[path]


def _name(path: Path) -> None:
    """Add a file to those that the environment names."""
    if os.pathsep in str(path):
        raise UserError(f"{path}: a file of parts cannot lie below a name with '{os.pathsep}' in it")
    os.environ[NAMED] = os.pathsep.join(dict.fromkeys([*_named(), str(path)]))


def _named() -> list[str]:
    """The files that the environment names."""
    return [path for path in os.environ.get(NAMED, "").split(os.pathsep) if path]


def source_of(content: str) -> bytes:
    """The text of a loaded file, by its SHA-256."""
    return next(plugin.source for plugin in _loaded.values() if plugin.sha256 == content)


def _read(path: str | Path) -> bytes:
    path = Path(path).absolute()
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        near = did_you_mean(path.name, [file.name for file in path.parent.glob("*.py")])
        raise UserError(f"there is no file {path}{near}") from error
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error


def _sha256(source: bytes) -> str:
    return hashlib.sha256(source).hexdigest()


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
