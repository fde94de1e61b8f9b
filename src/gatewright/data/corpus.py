"""A corpus as training sees it: two token arrays and the tokenizer that made them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatewright.data.token_array import TokenArray
from gatewright.data.tokenization import Tokenizer, load_tokenizer
from gatewright.errors import RunError

INDEX = "index.json"
SPLITS = ("train", "validation")


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
            with array.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != self.index["splits"][array.split]["sha256"]:
                raise RunError(f"{array.path}: differs from what was prepared; delete {self.folder} and start again")


def read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a finished folder; None where there is none or where a file has not the size it should have."""
    path = folder / INDEX
    if not path.is_file():
        return None
    index: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    width = int(index["dtype"][-1])
    for split in SPLITS:
        tokens = folder / f"{split}.bin"
        if not tokens.is_file() or tokens.stat().st_size != width * index["splits"][split]["tokens"]:
            return None
    return index
