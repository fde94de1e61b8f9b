"""Data sets of the Hugging Face hub, or local folders in the same format, through ``datasets``."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.data.corpora.articles import documents_from_rows
from gatewright.data.corpora.base import UNDIVIDED, Corpus, Document, register_corpus
from gatewright.data.corpora.files import first_line, no_field
from gatewright.data.extras import import_extra
from gatewright.data.hub import resolve
from gatewright.errors import RunError, UserError

if TYPE_CHECKING:
    from gatewright.config import DataConfig

ROWS_AT_ONCE = 1000


@register_corpus("huggingface")
class HuggingFace(Corpus):
    """``datasets.load_dataset(data.path, data.subset)``, such as ``Salesforce/wikitext`` with ``wikitext-103-raw-v1``.

    A data set with splits named train and validation keeps them. Of any other the train split (or the only one) is
    divided by document; its test split is never touched. Raw WikiText is joined to articles (`documents_from_rows`);
    in all other data sets a row is a document. With ``data.streaming`` rows are read as they arrive and the data set
    itself is not stored. Folders written by ``save_to_disk`` are read too.
    """

    options = frozenset({"path", "subset", "text_field", "streaming"})

    def __init__(self, config: DataConfig) -> None:
        super().__init__(config)
        if not config.path:
            raise UserError("data.source=huggingface needs data.path (the name of a data set, or a folder)")
        self.path = resolve("data.path", config.path)
        self._saved = any((Path(self.path) / name).is_file() for name in ("dataset_dict.json", "state.json"))

    @property
    def label(self) -> str:
        return f"{self.path} ({self.config.subset})" if self.config.subset else self.path

    @cached_property
    def _datasets(self) -> Any:
        return import_extra("datasets", "hf", "data.source=huggingface")

    @cached_property
    def _builder(self) -> Any:
        return self._ask(lambda: self._datasets.load_dataset_builder(self.path, self.config.subset))

    def fingerprint(self) -> str:
        """The revision of the data set, or the times of a local folder's files; the rows themselves are not read."""
        if self._saved:
            if self.config.subset or self.config.streaming:
                raise UserError(f"{self.path}: data.subset and data.streaming do not apply to a folder of save_to_disk")
            files = sorted(path for path in Path(self.path).rglob("*") if path.is_file())
            stats = [(str(p.relative_to(self.path)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]
            return hashlib.sha256(repr(stats).encode()).hexdigest()
        builder = self._builder
        facts: list[Any] = [self.path, builder.config_id, str(builder.config.version), builder.hash]
        if Path(self.path).is_dir():
            by_split = builder.config.data_files or {}
            facts += [(str(split), list(files), files.origin_metadata) for split, files in sorted(by_split.items())]
        return hashlib.sha256(repr(facts).encode()).hexdigest()

    @cached_property
    def _tables(self) -> Mapping[str, Any]:
        """The data set's own splits, by name."""
        if self._saved:
            loaded = self._ask(lambda: self._datasets.load_from_disk(self.path))
            return loaded if isinstance(loaded, Mapping) else {"train": loaded}
        if self.config.streaming:
            return self._ask(lambda: self._builder.as_streaming_dataset())
        self._ask(lambda: self._builder.download_and_prepare())
        return self._ask(lambda: self._builder.as_dataset())

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "validation") if {"train", "validation"} <= self._tables.keys() else UNDIVIDED

    def documents(self, split: str) -> Iterator[Document]:
        rows = self._rows(self._table(split))
        for number, text in enumerate(documents_from_rows(rows), start=1):
            yield Document(text, f"{self.label}, document {number}")

    def _table(self, split: str) -> Any:
        if split not in UNDIVIDED:
            return self._tables[split]
        if "train" in self._tables:
            return self._tables["train"]
        if len(self._tables) == 1:
            return next(iter(self._tables.values()))
        raise UserError(f"{self.label}: has no split named train (splits: {', '.join(self._tables)})")

    def _rows(self, table: Any) -> Iterator[str]:
        field = self.config.text_field
        if table.column_names is not None and field not in table.column_names:
            raise no_field(self.label, field, table.column_names)
        for batch in self._batches(table):
            if field not in batch:
                raise no_field(self.label, field, list(batch))
            for text in batch[field]:
                if text is not None and not isinstance(text, str):
                    raise UserError(f"{self.label}: column '{field}' is not text but {type(text).__name__}")
                if text is not None:
                    yield text

    def _batches(self, table: Any) -> Iterable[Mapping[str, list[Any]]]:
        try:
            yield from table.iter(ROWS_AT_ONCE)
        except (OSError, RuntimeError) as error:  # a lost connection
            raise RunError(f"{self.label}: reading stopped ({first_line(error)})") from error
        except ValueError as error:  # a file that is not what its name says
            raise UserError(f"{self.label}: cannot be read ({first_line(error)})") from error

    def _ask(self, call: Any) -> Any:
        """What ``call`` returns; what it raises about a wrong name, a missing connection or a bad file as one line."""
        try:
            return call()
        except (OSError, ValueError, self._datasets.exceptions.DatasetsError) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise  # the disk, not the data set
            raise UserError(f"data.path={self.label}: {first_line(error)}") from error
