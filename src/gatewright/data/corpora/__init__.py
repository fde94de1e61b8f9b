"""Sources of documents, one file each; a new file that registers itself is a new ``data.source``."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from gatewright.data.corpora.base import UNDIVIDED, Corpus, Document, corpus_classes, register_corpus
from gatewright.errors import unknown

if TYPE_CHECKING:
    from gatewright.config import DataConfig

__all__ = ["UNDIVIDED", "Corpus", "Document", "list_corpora", "open_corpus", "register_corpus"]


def list_corpora() -> list[str]:
    """Names that ``data.source`` accepts, sorted."""
    _discover()
    return sorted(corpus_classes)


def open_corpus(config: DataConfig) -> Corpus:
    """The corpus that ``config`` describes; nothing is read yet.

    Raises `UserError` for an unknown ``data.source`` and for options that it does not have.
    """
    known = list_corpora()
    if config.source not in known:
        raise unknown("data.source", config.source, known)
    return corpus_classes[config.source](config)


@cache
def _discover() -> None:
    for module in pkgutil.iter_modules(__path__, prefix=f"{__name__}."):
        importlib.import_module(module.name)
    for point in entry_points(group="gatewright.corpora"):
        point.load()
