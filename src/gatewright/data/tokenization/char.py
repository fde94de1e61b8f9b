"""Characters as tokens, for toys and for tasks with a small alphabet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from gatewright.data.tokenization.base import END_OF_TEXT, TokenIds
from gatewright.data.tokenization.fast import FastTokenizer, special

UNKNOWN = "<unk>"


class CharTokenizer(FastTokenizer):
    """One token a Unicode code point: those of the training split in code point order, after separator and ``<unk>``.

    Characters that the training split does not have become ``<unk>``, whose own text `token_bytes` gives as one byte:
    fewer than such a character has, so that a perplexity per byte is not flattered.
    """

    unk_token: ClassVar[str | None] = UNKNOWN

    @classmethod
    def train(cls, texts: Callable[[], Iterator[str]]) -> CharTokenizer:
        """The tokenizer of all characters in ``texts()``."""
        alphabet: set[str] = set()
        for text in texts():
            alphabet.update(text)
        return cls.of(alphabet)

    @classmethod
    def of(cls, alphabet: Iterable[str]) -> CharTokenizer:
        """The tokenizer of the characters in ``alphabet``."""
        tokens = [END_OF_TEXT, UNKNOWN, *sorted(set(alphabet))]
        backend = tokenizers.Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token=UNKNOWN))
        backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
        backend.decoder = decoders.Fuse()
        backend.add_special_tokens([special(END_OF_TEXT)])
        return cls("char", backend)

    @cached_property
    def _ids_by_code_point(self) -> TokenIds:
        characters = {ord(token): i for token, i in self.backend.get_vocab().items() if len(token) == 1}
        # The last entry stands for all code points above.
        table = np.full(max(characters, default=0) + 2, self.id_of(UNKNOWN), dtype=np.uint32)
        table[list(characters)] = list(characters.values())
        return table

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        # A table of code points gives what the backend gives, without its hundred bytes of bookkeeping a token.
        table = self._ids_by_code_point
        codes = (np.frombuffer(text.encode("utf-32-le"), dtype="<u4") for text in texts)
        return [table[np.minimum(code, len(table) - 1)] for code in codes]

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...]:
        named = {END_OF_TEXT: b"", UNKNOWN: b"?"}
        by_id = {i: named.get(token, token.encode()) for token, i in self.backend.get_vocab().items()}
        return tuple(by_id[i] for i in range(self.vocab_size))
