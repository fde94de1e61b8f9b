"""A corpus as training sees it: two token arrays and the tokenizer that made them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from gatewright.data.shards import SPLITS, Shard, digest_of, shard_files, shard_name, token_dtype
from gatewright.data.token_array import TokenArray
from gatewright.data.tokenization import Tokenizer, load_tokenizer
from gatewright.errors import RunError, UserError
from gatewright.reading import misfit, read_json_object

INDEX = "index.json"
FORM = {
    "content_sha256": str, "division": dict, "tokenizer": {"vocab_size": int}, "dtype": str,
    "splits": dict.fromkeys(SPLITS, list),
}  # fmt: skip
SHARD = get_type_hints(Shard)


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
        train, validation = (
            TokenArray(folder, split, shards_of(index, split), index["dtype"], f"{label}, {split}") for split in SPLITS
        )
        return cls(folder, tokenizer, train, validation, source, index)

    def describe(self) -> dict[str, Any]:
        """Source, content hash, division and tokenizer, and documents, tokens, bytes and words of each split."""
        facts = {key: self.index[key] for key in ("content_sha256", "division", "tokenizer", "dtype")}
        return {"source": self.source, **facts, **{split: self._size(split) for split in SPLITS}}

    def verify(self) -> None:
        """Read all shards and compare them with their digests; raises `RunError` naming those that differ."""
        if wrong := damaged(self.folder, self.index, contents=True):
            raise RunError(f"{self.folder}: {', '.join(wrong)} differ from what was prepared")

    def _size(self, split: str) -> dict[str, Any]:
        shards = shards_of(self.index, split)
        sums = {key: sum(getattr(shard, key) for shard in shards) for key in ("tokens", "documents", "bytes", "words")}
        whole = hashlib.sha256("".join(shard.sha256 for shard in shards).encode())
        return {**sums, "shards": len(shards), "sha256": whole.hexdigest()}


def shards_of(index: dict[str, Any], split: str) -> list[Shard]:
    """What the index knows of the shards of a split, in order."""
    return [Shard(**facts) for facts in index["splits"][split]]


def read_index(folder: Path) -> dict[str, Any] | None:
    """The index of a finished folder; None where there is none, or none that can be read."""
    try:
        index = read_json_object(folder / INDEX)
    except UserError:
        return None
    if misfit(index, FORM) is not None or index["dtype"] != token_dtype(index["tokenizer"]["vocab_size"]):
        return None
    shards = [index["splits"][split] for split in SPLITS]
    return index if all(shards) and all(_is_shard(facts) for each in shards for facts in each) else None


def _is_shard(facts: Any) -> bool:
    if not isinstance(facts, dict) or facts.keys() != SHARD.keys() or misfit(facts, SHARD) is not None:
        return False
    return bool(facts["tokens"] > 0 and facts["documents"] > 0)


def damaged(folder: Path, index: dict[str, Any], contents: bool) -> list[str]:
    """The names of shards that are missing, of the wrong size or, where ``contents`` are read, of another digest."""
    width = int(index["dtype"][-1])
    wrong = []
    for split in SPLITS:
        for number, shard in enumerate(shards_of(index, split)):
            name = shard_name(split, number)
            sizes = (width * shard.tokens, 8 * (shard.documents + 1))
            there = all(
                path.is_file() and path.stat().st_size == size
                for path, size in zip(shard_files(folder, name), sizes, strict=True)
            )
            if not there or (contents and digest_of(folder, name) != shard.sha256):
                wrong.append(name)
    return wrong
