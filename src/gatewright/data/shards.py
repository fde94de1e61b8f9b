"""Shards: parts of a split of about the same size, each encoded, checked and made again on its own.

Which documents a shard holds is decided by the text alone. So the bytes of all shards are the same however many
processes made them, in whatever order, and however often they were interrupted.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from array import array
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from gatewright.data.spool import Spool
from gatewright.data.text_batches import in_batches
from gatewright.data.tokenization import Tokenizer, load_tokenizer
from gatewright.data.words import count_words
from gatewright.files import sync_file, write_atomic

SMALLEST, LARGEST, PARTS = 2**24, 2**28, 64
"""A shard holds a 64th of the text, but at least 16 MiB of it and at most 256 MiB (and the document it ends in)."""

SPLITS = ("train", "validation")
PART = ".part"
"""Ending of files that are being written."""
DISK_FAILED = 3
"""Exit status of a process that could not read or write; the error's number is the last line of what it said."""


@dataclass(frozen=True)
class Job:
    """A shard to be made: documents ``first`` to ``last - 1`` of a split of the spool."""

    split: str
    number: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """What its files begin with."""
        return shard_name(self.split, self.number)


@dataclass(frozen=True)
class Shard:
    """What a shard holds. ``bytes`` and ``words`` count the text: UTF-8, and runs without white space."""

    tokens: int
    documents: int
    bytes: int
    words: int
    sha256: str
    """Of the file of tokens followed by that of offsets."""


def shard_name(split: str, number: int) -> str:
    """``train-00007``: ``.bin`` holds the tokens, ``.offsets`` where documents begin (int64), and the end."""
    return f"{split}-{number:05d}"


def token_dtype(vocab_size: int) -> str:
    """Little-endian uint16 where every id fits, else uint32."""
    return "<u2" if vocab_size <= 65535 else "<u4"


def plan(spool: Spool) -> list[Job]:
    """All shards of both splits."""
    target = min(max(sum(size.bytes for size in spool.sizes.values()) // PARTS, SMALLEST), LARGEST)
    return [
        Job(split, number, first, last)
        for split in SPLITS
        for number, (first, last) in enumerate(pairwise(_bounds(spool, split, target)))
    ]


def _bounds(spool: Spool, split: str, target: int) -> Iterator[int]:
    """The documents at which shards of a split begin, and its end: a shard closes once it has ``target`` bytes."""
    yield 0
    documents = read = begun = closed = 0
    for spans in spool.spans(split):
        ends = read + np.cumsum(spans[:, 1] - spans[:, 0])
        while (place := int(np.searchsorted(ends, begun + target))) < len(ends):
            closed, begun = documents + place + 1, int(ends[place])
            yield closed
        documents, read = documents + len(spans), int(ends[-1])
    if closed < documents:
        yield documents


def record_of(folder: Path, job: Job) -> Path:
    """The file that says that a shard is there, and what it holds."""
    return folder / f"{job.name}.json"


def finished(folder: Path, job: Job) -> Shard:
    """What is known of a shard that `encode_shard` finished in ``folder``."""
    return Shard(**json.loads(record_of(folder, job).read_text()))


def made(folder: Path, job: Job) -> Shard | None:
    """`finished`; None for a shard that is not."""
    return finished(folder, job) if record_of(folder, job).is_file() else None


def encode_shard(
    folder: Path, job: Job, spool: Spool, tokenizer: Tokenizer, on_bytes: Callable[[int], None] = lambda count: None
) -> None:
    """Encode the documents of ``job`` into ``folder``, each followed by the separator.

    Files get their names when they are complete, and the record that `made` reads comes last: a shard without one is no
    shard. Memory stays flat: it holds one batch of texts and their tokens, and 8 bytes for each document of the shard.
    """
    offsets = array("q", [0])
    size = words = 0
    dtype = token_dtype(tokenizer.vocab_size)
    separator = np.array(tokenizer.eot_id, dtype=dtype).tobytes()
    digest = hashlib.sha256()
    final = shard_files(folder, job.name)
    tokens_file, offsets_file = parts = [folder / f".{path.name}.{os.getpid()}{PART}" for path in final]
    with tokens_file.open("wb") as file:
        for batch in in_batches(spool.texts(job.split, job.first, job.last)):
            rows = tokenizer.encode_batch(batch)
            for row in rows:
                offsets.append(offsets[-1] + len(row) + 1)
            raw = b"".join(part for row in rows for part in (row.astype(dtype).tobytes(), separator))
            file.write(raw)
            digest.update(raw)
            read = sum(len(text.encode()) for text in batch)
            size += read
            words += sum(map(count_words, batch))
            on_bytes(read)
    raw = np.asarray(offsets, dtype="<i8").tobytes()
    offsets_file.write_bytes(raw)
    digest.update(raw)
    for part, path in zip(parts, final, strict=True):
        sync_file(part)
        part.replace(path)
    shard = Shard(offsets[-1], len(offsets) - 1, size, words, digest.hexdigest())
    write_atomic(record_of(folder, job), json.dumps(asdict(shard)))


def shard_files(folder: Path, name: str) -> tuple[Path, Path]:
    """The files of a shard: tokens, offsets."""
    return folder / f"{name}.bin", folder / f"{name}.offsets"


def digest_of(folder: Path, name: str) -> str:
    """The digest of a shard's files as they are."""
    whole = hashlib.sha256()
    for path in shard_files(folder, name):
        with path.open("rb") as file:
            while block := file.read(2**20):
                whole.update(block)
    return whole.hexdigest()


def main() -> None:
    """Make one shard, in a process of its own: folder, split, number, first and last document as arguments."""
    folder, split, *numbers = sys.argv[1:]
    work, parent = Path(folder), os.getppid()

    def end_with_parent(count: int) -> None:
        if os.getppid() != parent:  # it was killed, and could not take this process with it
            sys.exit(1)

    spool = Spool.open(work / "spool")
    assert spool is not None
    try:
        job, tokenizer = Job(split, *map(int, numbers)), load_tokenizer(work / "tokenizer")
        encode_shard(work, job, spool, tokenizer, end_with_parent)
    except OSError as error:
        print(error.errno, file=sys.stderr)
        sys.exit(DISK_FAILED)
