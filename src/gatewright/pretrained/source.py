"""What ``init`` names, and its configuration, before any weights are read."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from gatewright.data.extras import import_extra
from gatewright.data.hub import resolve
from gatewright.errors import UserError, did_you_mean
from gatewright.hf.description import MODEL_TYPE
from gatewright.reading import opening
from gatewright.run import CHECKPOINTS, CONFIG, TOKENIZER, Run

T = TypeVar("T")

DESCRIPTION = "config.json"


@dataclass(frozen=True)
class Source:
    """A trained model: where transformers finds it, and where its tokenizer is."""

    name: str
    """As ``init`` has it."""
    place: str
    """A folder or a name on the hub."""
    tokenizer: str
    """For ``data.tokenizer``."""
    gguf_file: str | None = None

    @property
    def config(self) -> Any:
        """Its configuration, a new one each time. `UserError` if transformers cannot read it."""
        return copy.deepcopy(_read_config(self, _age(self)))

    @property
    def is_ours(self) -> bool:
        """Whether it is a model of ours, and none of transformers' own."""
        return bool(self.config.model_type == MODEL_TYPE)


def find_source(init: str) -> Source:
    """The model that ``init`` names: a run (its best checkpoint), a checkpoint, a folder, a GGUF file, or a hub name.

    Raises `UserError` for a path that holds no model and for a run without a usable checkpoint.
    """
    path = Path(init).expanduser()
    if path.suffix == ".gguf" and path.is_file():
        return Source(init, str(path.parent), str(path), path.name)
    if path.is_dir() and not (path / DESCRIPTION).is_file():
        if (path / CONFIG).is_file():
            checkpoint = _best_checkpoint(path, _changed(path / CHECKPOINTS))
            return Source(init, str(checkpoint), str(path / TOKENIZER))
        files = sorted(path.glob("*.gguf"))
        if len(files) != 1:
            held = f"{len(files)} GGUF files; name one of them" if files else "neither config.json nor a GGUF file"
            raise UserError(f"init={init} is no model: it holds {held}")
        return Source(init, str(path), str(files[0]), files[0].name)
    if (path / CONFIG).is_file():  # a checkpoint of a run
        return Source(init, str(path), str(path.parents[1] / TOKENIZER))
    if not path.exists() and path.parent.is_dir():
        beside = [other.name for other in path.parent.iterdir() if other.is_dir()]
        if hint := did_you_mean(path.name, beside):  # no need to look for a typing error on the hub
            raise UserError(f"init={init}: there is no such folder{hint}")
    place = resolve("init", init)
    return Source(init, place, place)


def ask(source: Source, call: Callable[[], T]) -> T:
    """What ``call`` gets from transformers, without progress bars; `UserError` for what it cannot open."""
    with _quiet(), opening(f"init={source.name}: transformers cannot open it"):
        return call()


@cache
def _best_checkpoint(run: Path, changed: int | None) -> Path:
    """The best checkpoint of a run. Finding it reads all of its files for their checksums, once for each state."""
    return Run(run).checkpoint("best")


def _changed(folder: Path) -> int | None:
    """When something was last added to a folder or taken away; None without one."""
    return folder.stat().st_mtime_ns if folder.is_dir() else None


@cache
def _read_config(source: Source, age: tuple[int, int] | None) -> Any:
    transformers = import_extra("transformers", "hf", f"init={source.name}")
    given = {} if source.gguf_file is None else {"gguf_file": source.gguf_file}
    return ask(source, lambda: transformers.AutoConfig.from_pretrained(source.place, trust_remote_code=False, **given))


def _age(source: Source) -> tuple[int, int] | None:
    """What tells a changed file from the one that was read; reading a GGUF file takes many seconds."""
    path = Path(source.place) / (source.gguf_file or DESCRIPTION)
    return (path.stat().st_mtime_ns, path.stat().st_size) if path.is_file() else None


@contextmanager
def _quiet() -> Iterator[None]:
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
