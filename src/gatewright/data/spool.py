"""The documents of a corpus, read from their source once and kept in local files while they are tokenized.

A source may be slow, remote or a stream that cannot be rewound, and preparation goes over the documents up to three
times: to divide them, to train a tokenizer, to encode. The spool needs as much disk as the text for that time. What is
known of each document is on the disk too; 24 bytes of each held out document stand in memory while these are ordered.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gatewright.data.corpora import UNDIVIDED, Corpus, Document
from gatewright.data.splits import cut_position, last_held_out, split_key
from gatewright.errors import UserError
from gatewright.files import sync_file, write_atomic

if TYPE_CHECKING:
    from gatewright.config import DataConfig

Spans = NDArray[np.int64]
"""``(documents, 2)``: where each document begins and ends in the spool, in bytes."""

TEXT, KEYS, RECORD = "text.bin", "keys.bin", "spool.json"
AT_ONCE = 2**16
"""Documents whose spans are in memory at the same time."""


@dataclass(frozen=True)
class Size:
    """How much a split holds."""

    documents: int
    bytes: int


@dataclass(frozen=True)
class Spool:
    """What was read: a folder with the text, and where in it the documents of each split lie.

    Training documents come in the order of the source, and so do those of a validation split that the source has. Held
    out documents come in the order of the draw: an evaluation on the first of them is then not one on, say, the oldest.
    """

    folder: Path
    sizes: dict[str, Size]
    divided_by: str
    """``source`` (it has splits of its own), ``document`` or ``position`` (a single document, cut in two)."""
    content_sha256: str
    """Over the texts of all documents in order, each preceded by its length."""

    @classmethod
    def open(cls, folder: Path) -> Spool | None:
        """The spool in ``folder``; None where it was not finished."""
        if not (folder / RECORD).is_file():
            return None
        record = json.loads((folder / RECORD).read_text())
        sizes = {split: Size(**size) for split, size in record.pop("sizes").items()}
        return cls(folder, sizes, **record)

    def finish(self) -> Spool:
        """Make it last: from now on `open` finds it, after a crash too."""
        for path in self.folder.iterdir():
            sync_file(path)
        record = {key: value for key, value in asdict(self).items() if key != "folder"}
        write_atomic(self.folder / RECORD, json.dumps(record))
        return self

    def spans(self, split: str, first: int = 0, last: int | None = None) -> Iterator[Spans]:
        """Where the documents ``first`` to ``last - 1`` of a split lie, in blocks."""
        path, last = self.folder / f"{split}.spans", self.sizes[split].documents if last is None else last
        for begin in range(first, last, AT_ONCE):
            yield _read(path, begin, min(begin + AT_ONCE, last))

    def texts(self, split: str, first: int = 0, last: int | None = None, every: int = 1) -> Iterator[str]:
        """The texts of documents ``first`` to ``last - 1`` of a split, or of every so many of them, one at a time."""
        number = first
        with (self.folder / TEXT).open("rb") as file:
            for block in self.spans(split, first, last):
                for begin, end in block[(first - number) % every :: every].tolist():
                    file.seek(begin)
                    yield file.read(end - begin).decode()
                number += len(block)


def spool_documents(
    corpus: Corpus, config: DataConfig, folder: Path, on_document: Callable[[], None] = lambda: None
) -> Spool:
    """Read ``corpus`` into the new ``folder`` and divide it into ``train`` and ``validation``.

    Documents of white space alone are left out; ``config.max_documents`` counts the others, in each split that the
    source has. What comes back still has to be finished. Raises `UserError` for a corpus that is empty or too small to
    be divided.
    """
    content = hashlib.sha256()
    end = 0
    sizes = {}
    with (folder / TEXT).open("wb") as file, (folder / KEYS).open("wb") as keys:
        for split in corpus.splits:
            documents, begin = 0, end
            written = (document for document in corpus.documents(split) if document.text.strip())
            with (folder / f"{split}.spans").open("wb") as spans:
                for document in islice(written, config.max_documents):
                    raw = _utf8(document)
                    file.write(raw)
                    spans.write(struct.pack("<qq", end, end + len(raw)))
                    keys.write(split_key(raw, config.split_seed).to_bytes(8, "little"))
                    content.update(len(raw).to_bytes(8, "little") + raw)
                    end += len(raw)
                    documents += 1
                    on_document()
            if not documents:
                where = "" if split in UNDIVIDED else f" in its {split} split"
                raise UserError(f"{corpus.label}: the corpus is empty: no document with any text{where}")
            sizes[split] = Size(documents, end - begin)
    whole = Spool(folder, sizes, "source", content.hexdigest())
    return _divide(whole, corpus.label, config.validation_fraction) if corpus.splits == UNDIVIDED else whole


def _divide(whole: Spool, label: str, fraction: float) -> Spool:
    """``whole``, which has all documents in one split, with these in two."""
    (size,) = whole.sizes.values()
    if size.documents == 1:
        text = (whole.folder / TEXT).read_bytes().decode()
        if len(text) < 2:
            raise UserError(f"{label}: too small to be divided into training and validation text")
        cut = len(text[: cut_position(len(text), fraction)].encode())
        train, held_out = np.array([[0, cut]]), np.array([[cut, size.bytes]])
        (whole.folder / "train.spans").write_bytes(train.astype("<i8").tobytes())
        by = "position"
    else:
        held_out = _draw(whole, label, fraction)
        by = "document"
    (whole.folder / "validation.spans").write_bytes(held_out.astype("<i8").tobytes())
    validation = Size(len(held_out), int((held_out[:, 1] - held_out[:, 0]).sum()))
    train_size = Size(max(size.documents - validation.documents, 1), size.bytes - validation.bytes)
    for path in (*(whole.folder / f"{split}.spans" for split in UNDIVIDED), whole.folder / KEYS):
        path.unlink()
    return Spool(whole.folder, {"train": train_size, "validation": validation}, by, whole.content_sha256)


def _draw(whole: Spool, label: str, fraction: float) -> Spans:
    """Write the spans of training documents, return those of the documents held out, in the order of the draw."""
    (split,), (size,) = whole.sizes, whole.sizes.values()

    def keys() -> Iterator[NDArray[np.uint64]]:
        for first in range(0, size.documents, AT_ONCE):
            yield np.fromfile(whole.folder / KEYS, "<u8", AT_ONCE, offset=8 * first)

    try:
        last = last_held_out(keys, fraction)
    except ValueError as error:
        raise UserError(f"{label}: all {size.documents} documents are the same, so none can be held out") from error
    drawn: list[tuple[NDArray[np.uint64], Spans]] = []
    with (whole.folder / "train.spans").open("wb") as file:
        for block, spans in zip(keys(), whole.spans(split), strict=True):
            out = block <= np.uint64(last)
            file.write(spans[~out].tobytes())
            drawn.append((block[out], spans[out]))
    order = np.argsort(np.concatenate([block for block, _ in drawn]), kind="stable")
    return np.concatenate([spans for _, spans in drawn])[order]


def _read(path: Path, first: int, last: int) -> Spans:
    return np.fromfile(path, "<i8", 2 * (last - first), offset=16 * first).reshape(-1, 2)


def _utf8(document: Document) -> bytes:
    try:
        return document.text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{document.origin}: not Unicode text (a lone surrogate at {error.start})") from error
