"""Tokenizers that are built here, on the ``tokenizers`` library: what they have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import tokenizers

from gatewright.data.tokenization.base import END_OF_TEXT, TokenIds, Tokenizer
from gatewright.files import write_atomic

MARK = "gatewright"
"""The key of ``tokenizer_config.json`` under which the name of a tokenizer of ours stands."""


class FastTokenizer(Tokenizer):
    """A ``tokenizers.Tokenizer`` whose vocabulary holds ``<|endoftext|>``.

    What `save` writes opens with ``transformers.AutoTokenizer`` and ``PreTrainedTokenizerFast`` and encodes alike.
    """

    unk_token: ClassVar[str | None] = None

    def __init__(self, name: str, backend: tokenizers.Tokenizer) -> None:
        self.name = name
        self.backend = backend
        # Saved files do not carry this setting, so it is made at every start.
        self.backend.encode_special_tokens = True
        self.vocab_size = backend.get_vocab_size(with_added_tokens=True)
        self.eot_id = self.id_of(END_OF_TEXT)

    def id_of(self, token: str) -> int:
        """The id of a token of the vocabulary; `KeyError` if it has none."""
        token_id = self.backend.token_to_id(token)
        if token_id is None:
            raise KeyError(token)
        return int(token_id)

    def encode(self, text: str) -> list[int]:
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        encodings = self.backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        return str(self.backend.decode([int(i) for i in ids], skip_special_tokens=skip_special_tokens))

    def save(self, folder: str | Path) -> None:
        config = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "unk_token": self.unk_token,
            "clean_up_tokenization_spaces": False,
            MARK: self.name,
        }
        if self.unk_token is None:
            del config["unk_token"]
        write_atomic(Path(folder) / "tokenizer.json", self.backend.to_str(pretty=True))
        write_atomic(Path(folder) / "tokenizer_config.json", json.dumps(config, indent=2) + "\n")

    def fingerprint(self) -> str:
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()


def special(token: str) -> tokenizers.AddedToken:
    """``token`` as a special token that is matched as it stands."""
    return tokenizers.AddedToken(token, special=True, normalized=False)
