"""The documents of a corpus, read from their source once and kept in one local file while they are tokenized.

A source may be slow, remote or a stream that cannot be rewound, and preparation goes over the documents up to three
times: to divide them, to train a tokenizer, to encode. The spool needs as much disk as the text for that time; of each
document only three numbers stay in memory.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gatewright.data.corpora import UNDIVIDED, Corpus, Document
from gatewright.data.splits import cut_position, held_out, split_key
from gatewright.errors import UserError

if TYPE_CHECKING:
    from gatewright.config import DataConfig

Spans = NDArray[np.int64]
"""``(documents, 2)``: where each document begins and ends in the spool, in bytes."""


@dataclass(frozen=True)
class Spool:
    """What was read: the file, and where the documents of each split lie in it.

    Training documents come in the order of the source, and so do those of a validation split that the source has. Held
    out documents come in the order of the draw: an evaluation on the first of them is then not one on, say, the oldest.
    """

    path: Path
    splits: dict[str, Spans]
    divided_by: str
    """``source`` (it has splits of its own), ``document`` or ``position`` (a single document, cut in two)."""
    content_sha256: str
    """Over the texts of all documents in order, each preceded by its length."""

    def texts(self, split: str) -> Iterator[str]:
        """The texts of one split, one at a time."""
        with self.path.open("rb") as file:
            for begin, end in self.splits[split]:
                file.seek(begin)
                yield file.read(end - begin).decode()


def spool_documents(
    corpus: Corpus, config: DataConfig, path: Path, on_document: Callable[[], None] = lambda: None
) -> Spool:
    """Read ``corpus`` into a new file at ``path`` and divide it into ``train`` and ``validation``.

    Documents of white space alone are left out; ``config.max_documents`` counts the others, in each split that the
    source has. Raises `UserError` for a corpus that is empty or too small to be divided.
    """
    content = hashlib.sha256()
    keys = array("Q")
    ends = array("q", [0])
    counts: dict[str, int] = {}
    with path.open("wb") as file:
        for split in corpus.splits:
            before = len(keys)
            written = (document for document in corpus.documents(split) if document.text.strip())
            for document in islice(written, config.max_documents):
                raw = _utf8(document)
                file.write(raw)
                ends.append(ends[-1] + len(raw))
                keys.append(split_key(raw, config.split_seed))
                content.update(len(raw).to_bytes(8, "little") + raw)
                on_document()
            counts[split] = len(keys) - before
            if not counts[split]:
                where = "" if split in UNDIVIDED else f" in its {split} split"
                raise UserError(f"{corpus.label}: the corpus is empty: no document with any text{where}")
    bounds = np.asarray(ends, dtype=np.int64)
    spans = np.stack([bounds[:-1], bounds[1:]], axis=1)
    if corpus.splits != UNDIVIDED:
        train, validation = spans[: counts["train"]], spans[counts["train"] :]
        return Spool(path, {"train": train, "validation": validation}, "source", content.hexdigest())
    by, train, validation = _divide(corpus, config, path, spans, np.asarray(keys, dtype=np.uint64))
    return Spool(path, {"train": train, "validation": validation}, by, content.hexdigest())


def _divide(
    corpus: Corpus, config: DataConfig, path: Path, spans: Spans, keys: NDArray[np.uint64]
) -> tuple[str, Spans, Spans]:
    if len(spans) == 1:
        text = path.read_bytes().decode()
        if len(text) < 2:
            raise UserError(f"{corpus.label}: too small to be divided into training and validation text")
        cut = len(text[: cut_position(len(text), config.validation_fraction)].encode())
        begin, end = spans[0]
        return "position", np.array([[begin, cut]]), np.array([[cut, end]])
    if (keys == keys[0]).all():
        raise UserError(f"{corpus.label}: all {len(keys)} documents are the same, so none can be held out")
    out = held_out(keys, config.validation_fraction)
    return "document", spans[~out], spans[out][np.argsort(keys[out], kind="stable")]


def _utf8(document: Document) -> bytes:
    try:
        return document.text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{document.origin}: not Unicode text (a lone surrogate at {error.start})") from error
