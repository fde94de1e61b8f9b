"""How many words and bytes of text a set of targets stands for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data.corpus import TokenizedCorpus
from gatewright.data.evaluation import IGNORED
from gatewright.data.tokenization import Tokenizer
from gatewright.data.words import count_words

Targets = Tensor | range | Iterable[Tensor | tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Units:
    """The size of a text in three units.

    With the summed negative log-likelihood of the targets, exp(nll / tokens), exp(nll / words) and exp(nll / bytes) are
    the perplexities per token, word and byte; only the latter two compare models with different tokenizers.
    """

    tokens: int
    """All targets, separators between documents included."""
    words: int
    """Runs of characters without white space, a word cut at either end counted as one."""
    bytes: int
    """Of the text in UTF-8; separators have none."""


def text_units(data: TokenizedCorpus | Tokenizer, targets: Targets) -> Units:
    """The tokens, words and bytes of exactly the ``targets`` that were scored.

    ``targets`` are labels (a tensor; tensors; or the pairs of `evaluation_batches`), of which -100 are left out, or,
    given a corpus, a ``range`` of positions in its validation tokens. Rows must follow one another in the text, as
    those of `evaluation_batches` do: a word that goes on in the next row counts once.

    Exact for the tokenizers built here and for all byte-level ones. Where tokens have no bytes of their own (WordPiece,
    SentencePiece) each document is decoded, which may lose one space at the start of a range within a document.
    """
    tokenizer = data if isinstance(data, Tokenizer) else data.tokenizer
    ids = _ids(data, targets)
    table = tokenizer.token_bytes
    words = size = 0
    for document in np.split(ids, np.flatnonzero(ids == tokenizer.eot_id)):
        if table is not None:
            raw = b"".join(table[token] for token in document)
            text = raw.decode(errors="replace")
        else:
            text = tokenizer.decode(document)
            raw = text.encode()
        size += len(raw)
        words += count_words(text)
    return Units(tokens=len(ids), words=words, bytes=size)


def _ids(data: TokenizedCorpus | Tokenizer, targets: Targets) -> NDArray[Any]:
    if isinstance(targets, range):
        if isinstance(data, Tokenizer):
            raise TypeError("a range of positions needs the corpus, not only its tokenizer")
        return np.asarray(data.validation[targets.start : targets.stop : targets.step])
    tensors = [targets] if isinstance(targets, Tensor) else targets
    labels = [item[1] if isinstance(item, tuple) else item for item in tensors]
    flat = np.concatenate([label.detach().cpu().numpy().reshape(-1) for label in labels])
    ids: NDArray[Any] = flat[flat != IGNORED]
    return ids
