"""What a corpus is: named documents that come one after another, and a fingerprint that changes when they do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, ClassVar, NamedTuple, TypeVar

from gatewright.errors import UserError

if TYPE_CHECKING:
    from gatewright.config import DataConfig

UNDIVIDED = ("all",)
"""The splits of a source that does not say itself which documents are held out."""

_OPTIONS = {"path": None, "subset": None, "text_field": "text", "streaming": False}


class Document(NamedTuple):
    """One text, and where it stands (for error messages)."""

    text: str
    origin: str


class Corpus(ABC):
    """A source of documents, opened from ``data.*``.

    A subclass registers itself with `register_corpus` in a file of its own below ``gatewright.data.corpora`` (or in a
    module that another package names as an entry point of the group ``gatewright.corpora``).
    """

    name: ClassVar[str]
    options: ClassVar[frozenset[str]] = frozenset()
    """Which of ``data.path``, ``data.subset``, ``data.text_field`` and ``data.streaming`` this source understands."""

    def __init__(self, config: DataConfig) -> None:
        for option, default in _OPTIONS.items():
            if option not in self.options and getattr(config, option) != default:
                raise UserError(f"data.{option} does not apply to data.source={self.name}")
        self.config = config

    @property
    def label(self) -> str:
        """How messages name this corpus: its file, folder or data set."""
        return f"data.source={self.name}"

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest that differs whenever the documents differ; raises `UserError` for a source that is not there.

        Costs much less than preparing the documents: it is asked at every start, also when all is cached.
        """

    @property
    def splits(self) -> tuple[str, ...]:
        """``("train", "validation")`` where the source is divided already, else `UNDIVIDED`."""
        return UNDIVIDED

    @abstractmethod
    def documents(self, split: str) -> Iterator[Document]:
        """The documents of one of `splits`, always in the same order; raises `UserError` for one that is not text."""


CorpusClass = TypeVar("CorpusClass", bound=type[Corpus])
corpus_classes: dict[str, type[Corpus]] = {}


def register_corpus(name: str) -> Callable[[CorpusClass], CorpusClass]:
    """Class decorator: make a `Corpus` known as ``data.source=name``. Raises `ValueError` for a name that is taken."""

    def decorate(corpus: CorpusClass) -> CorpusClass:
        other = corpus_classes.get(name)
        if other is not None and (other.__module__, other.__qualname__) != (corpus.__module__, corpus.__qualname__):
            raise ValueError(f"corpus '{name}' is registered twice: {other} and {corpus}")
        corpus.name = name
        corpus_classes[name] = corpus
        return corpus

    return decorate
