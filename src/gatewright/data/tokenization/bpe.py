"""Byte-level byte-pair encoding, trained on the corpus at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from gatewright.data.text_batches import in_batches
from gatewright.data.tokenization import byte_level
from gatewright.data.tokenization.base import END_OF_TEXT, TokenIds
from gatewright.data.tokenization.fast import FastTokenizer

SMALLEST = 257
"""All bytes and the separator."""

LEARNT_FROM = 2**30
"""Bytes of training text that merges are learnt from; of a larger corpus every k-th document is taken. More text takes
hours, and memory for its rare words, and hardly changes what is frequent."""

PIECE = 2**18
"""Characters after which a long document is cut at the next harmless place while it is learnt from or encoded."""


class BPETokenizer(FastTokenizer):
    """Byte-level BPE (Sennrich et al., 2016, arXiv:1508.07909; on bytes as in GPT-2) with GPT-2's pre-tokenization.

    The separator is token 0, the bytes follow, then the merges. A corpus with too few different words to fill the
    vocabulary leaves it smaller than asked for; ``vocab_size`` tells.
    """

    @classmethod
    def train(cls, size: int, texts: Callable[[], Iterator[str]]) -> BPETokenizer:
        """The tokenizer with ``size`` tokens whose merges are most frequent in ``texts()``; the same every time."""
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=[END_OF_TEXT],
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        backend.train_from_iterator((piece for text in texts() for piece in _pieces(text)), trainer)
        return cls(f"bpe-{size}", backend)

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        pieces = [_pieces(text) for text in texts]
        flat = (piece for group in pieces for piece in group)
        encoded = iter([row for batch in in_batches(flat) for row in super(BPETokenizer, self).encode_batch(batch)])
        return [np.concatenate([next(encoded) for _ in group]) for group in pieces]

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        return byte_level.token_bytes(self.backend, self.vocab_size)


def _pieces(text: str) -> list[str]:
    """``text`` in parts of about `PIECE` characters that are encoded as the whole is: memory stays flat.

    The cut is before a newline with a visible character behind it: GPT-2's pre-tokenization joins such a newline to
    nothing, not even to white space before it. A text without such a place stays whole.
    """
    pieces, start = [], 0
    while len(text) - start > PIECE:
        end = text.find("\n", start + PIECE)
        while 0 <= end < len(text) - 1 and not _visible(text[end + 1]):
            end = text.find("\n", end + 1)
        if not 0 <= end < len(text) - 1:
            break
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def _visible(character: str) -> bool:
    return character.isprintable() and not character.isspace()
