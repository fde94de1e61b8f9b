"""Writing the tokens of a split to its file, batch by batch."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gatewright.data.text_batches import in_batches
from gatewright.data.tokenization import Tokenizer
from gatewright.data.words import count_words


@dataclass
class Shard:
    """The facts about one split's file that go to the index."""

    tokens: int = 0
    documents: int = 0
    bytes: int = 0
    words: int = 0
    sha256: str = ""

    def as_dict(self) -> dict[str, Any]:
        """For the index."""
        return asdict(self)


def token_dtype(vocab_size: int) -> str:
    """Little-endian uint16 where every id fits, else uint32."""
    return "<u2" if vocab_size <= 65535 else "<u4"


def write_shard(
    folder: Path,
    split: str,
    texts: Iterable[str],
    tokenizer: Tokenizer,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> Shard:
    """Encode ``texts`` into ``<split>.bin`` (each document, then the separator) and ``<split>.offsets.npy``.

    Memory stays flat however many texts there are. ``bytes`` and ``words`` of the result count the text itself: UTF-8
    bytes, and runs of characters without white space.
    """
    shard = Shard()
    offsets = array("q", [0])
    digest = hashlib.sha256()
    dtype = token_dtype(tokenizer.vocab_size)
    separator = np.array(tokenizer.eot_id, dtype=dtype).tobytes()
    with (folder / f"{split}.bin").open("wb") as file:
        for batch in in_batches(texts):
            rows = tokenizer.encode_batch(batch)
            for row in rows:
                shard.tokens += len(row) + 1
                offsets.append(shard.tokens)
            raw = b"".join(part for row in rows for part in (row.astype(dtype).tobytes(), separator))
            file.write(raw)
            digest.update(raw)
            size = sum(len(text.encode()) for text in batch)
            shard.bytes += size
            shard.words += sum(map(count_words, batch))
            shard.documents += len(batch)
            on_bytes(size)
    np.save(folder / f"{split}.offsets.npy", np.asarray(offsets, dtype=np.int64))
    shard.sha256 = digest.hexdigest()
    return shard
