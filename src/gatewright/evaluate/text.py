"""The text that models with different tokenizers are compared on."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from gatewright.config import DataConfig, load_config
from gatewright.data import Mixture, prepare
from gatewright.data.words import count_words
from gatewright.errors import UserError

DEFAULT_BYTES = 2**18
"""How much text is scored unless somebody says otherwise: about 65,000 tokens of a GPT-2."""


@dataclass(frozen=True)
class EvaluationText:
    """Documents to be scored, and where they come from."""

    documents: tuple[str, ...]
    corpus: dict[str, Any]
    """What `TokenizedCorpus.describe` says of the corpus that they are from."""

    @property
    def bytes(self) -> int:
        """Of all documents in UTF-8."""
        return sum(len(text.encode()) for text in self.documents)

    @property
    def words(self) -> int:
        """Runs of characters without white space."""
        return sum(map(count_words, self.documents))

    def describe(self) -> dict[str, Any]:
        """Source and size, and a hash: two results with the same one are about the same text."""
        whole = hashlib.sha256()
        for raw in (text.encode() for text in self.documents):
            whole.update(len(raw).to_bytes(8, "little") + raw)
        source = self.corpus["source"]
        place = {key: source[key] for key in ("path", "subset") if source[key] is not None}
        sizes = {"documents": len(self.documents), "words": self.words, "bytes": self.bytes}
        return {"source": source["name"], **place, **sizes, "sha256": whole.hexdigest()}


def text_config(overrides: Sequence[str]) -> DataConfig | None:
    """The ``data.*`` that ``overrides`` ask for, in the grammar of `load_config`; None where they say nothing of it.

    Files under ``plugins`` are executed. Raises `UserError` for keys that a text does not have, the tokenizer included:
    that is the model's.
    """
    config = load_config(overrides)
    keys = {text.partition("=")[0].strip().lstrip("+") for text in overrides} - {"plugins"}
    for key in sorted(keys):
        if key in ("data.tokenizer", "data.vocabulary"):
            raise UserError(f"{key}: a model reads a text with its own tokenizer")
        if key.partition(".")[0] != "data":
            raise UserError(f"{key}: an evaluation takes data.…, the text, and plugins")
    return config.data if keys else None


def evaluation_text(config: DataConfig, max_bytes: int | None = DEFAULT_BYTES) -> EvaluationText:
    """The first ``max_bytes`` of the validation split of ``config``: whole documents, and a part of the last one.

    The cut is made in the text, before any tokenizer sees it, and between two characters. ``config.tokenizer`` plays no
    part. Raises `UserError` as `prepare` does, for a mixture, and for a limit so small that it leaves nothing.
    """
    corpus = prepare(replace(config, tokenizer="byte"), progress=sys.stderr.isatty())
    if isinstance(corpus, Mixture):
        raise UserError("data.sources: a text to compare models on is one source; score each on its own")
    held_out = corpus.validation
    left = len(held_out) if max_bytes is None else max_bytes
    documents: list[str] = []
    for number in range(held_out.documents):
        taken = held_out.document(number)[:left]
        left -= len(taken)
        text = taken.astype(np.uint8).tobytes().decode(errors="ignore")  # the cut may split a character
        if text.strip():
            documents.append(text)
        if left == 0:
            break
    if not documents:
        raise UserError(f"--bytes {max_bytes}: no text is left to score")
    return EvaluationText(tuple(documents), corpus.describe())
