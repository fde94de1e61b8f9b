"""A corpus as training sees it: two token arrays and the tokenizer that made them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gatewright.data.token_array import TokenArray
from gatewright.data.tokenization import Tokenizer, load_tokenizer
from gatewright.errors import RunError, UserError
from gatewright.reading import misfit, read_array, read_json_object

INDEX = "index.json"
SPLITS = ("train", "validation")
READ_AT_EVERY_START = 2**26

_SHARD = {"tokens": int, "documents": int, "bytes": int, "words": int, "sha256": str}
FORM = {
    "content_sha256": str, "division": dict, "tokenizer": dict, "dtype": str,
    "splits": dict.fromkeys(SPLITS, _SHARD),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class TokenizedCorpus:
    """What `prepare` leaves in its folder, opened for reading."""

    folder: Path
    tokenizer: Tokenizer
    train: TokenArray
    validation: TokenArray
    source: dict[str, Any]
    """``data.source``, ``path`` and ``subset`` as asked for."""
    index: dict[str, Any]

    @classmethod
    def open(cls, folder: Path, label: str, source: dict[str, Any]) -> TokenizedCorpus:
        """Open a finished folder; ``label`` names the corpus in messages."""
        index = read_index(folder)
        if index is None:
            raise RunError(f"{folder}: the prepared data are damaged")
        tokenizer = load_tokenizer(folder / "tokenizer")
        train, validation = (TokenArray(folder, split, index["dtype"], f"{label}, {split}") for split in SPLITS)
        return cls(folder, tokenizer, train, validation, source, index)

    def describe(self) -> dict[str, Any]:
        """Source, content hash, division and tokenizer, and documents, tokens, bytes and words of each split."""
        facts = {key: self.index[key] for key in ("content_sha256", "division", "tokenizer", "dtype")}
        return {"source": self.source, **facts, **{split: dict(self.index["splits"][split]) for split in SPLITS}}

    def verify(self) -> None:
        """Read all tokens and compare them with their digests; raises `RunError` if they differ."""
        for array in (self.train, self.validation):
            if _sha256(array.path) != self.index["splits"][array.split]["sha256"]:
                raise RunError(f"{array.path}: differs from what was prepared; delete {self.folder} and start again")


def read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a finished folder; None where there is none, or where a file is not what the index says.

    Up to `READ_AT_EVERY_START` bytes the tokens themselves are compared with their digests, of more only their number.
    """
    try:
        index = read_json_object(folder / INDEX)
        if misfit(index, FORM) is not None or index["dtype"] not in ("<u2", "<u4"):
            return None
        for split in SPLITS:
            facts, tokens = index["splits"][split], folder / f"{split}.bin"
            size = tokens.stat().st_size
            if not 0 < size == int(index["dtype"][-1]) * facts["tokens"]:
                return None
            offsets = read_array(folder / f"{split}.offsets.npy")
            if (
                [*offsets.shape] != [facts["documents"] + 1]
                or offsets.dtype != np.int64
                or (np.diff(offsets) < 1).any()
            ):
                return None
            if (offsets[0], offsets[-1]) != (0, facts["tokens"]):
                return None
            if size <= READ_AT_EVERY_START and _sha256(tokens) != facts["sha256"]:
                return None
    except (UserError, OSError, KeyError, IndexError):
        return None
    return index


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
