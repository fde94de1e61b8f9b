"""Bytes as tokens: no training, nothing unknown."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from gatewright.data.tokenization import byte_level
from gatewright.data.tokenization.base import END_OF_TEXT, TokenIds
from gatewright.data.tokenization.fast import FastTokenizer, special


class ByteTokenizer(FastTokenizer):
    """One token a byte of UTF-8; token ``b`` is byte ``b`` and 256 is the separator."""

    @classmethod
    def make(cls) -> ByteTokenizer:
        """The byte tokenizer: a byte-level BPE without merges."""
        vocabulary = {symbol: byte for byte, symbol in enumerate(byte_level.symbols())}
        backend = tokenizers.Tokenizer(models.BPE({**vocabulary, END_OF_TEXT: 256}, []))
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        backend.decoder = decoders.ByteLevel()
        backend.add_special_tokens([special(END_OF_TEXT)])
        return cls("byte", backend)

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        # The bytes themselves: what the backend gives, without its hundred bytes of bookkeeping a token.
        return [np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint32) for text in texts]

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        return byte_level.token_bytes(self.backend, self.vocab_size)
