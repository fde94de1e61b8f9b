"""Tokenizers of Hugging Face models, by name or from a local folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from gatewright.data.extras import import_extra
from gatewright.data.hub import resolve
from gatewright.data.tokenization import byte_level
from gatewright.data.tokenization.base import TokenIds, Tokenizer
from gatewright.errors import UserError
from gatewright.reading import opening

_NAME = "gatewright_name"
"""The key of ``tokenizer_config.json`` that keeps the name a saved tokenizer was first opened under."""


class PretrainedTokenizer(Tokenizer):
    """A tokenizer that ``transformers.AutoTokenizer`` opens.

    The separator is its end-of-sequence token, or the separator token of models that have only that.
    """

    def __init__(self, name: str, tokenizer: Any) -> None:
        self.name = name
        self.inner = tokenizer
        eot = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
        if eot is None:
            raise UserError(f"tokenizer '{name}' has no end-of-sequence token to put between documents")
        self.eot_id = int(eot)
        self.vocab_size = max(tokenizer.get_vocab().values()) + 1
        # Python tokenizers have no backend.
        self._backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
        if self._backend is not None:
            self._backend.no_truncation()
            self._backend.no_padding()
            self._backend.encode_special_tokens = True

    @classmethod
    def load(cls, name: str) -> PretrainedTokenizer:
        """Open a tokenizer by its name on the hub, from a local folder or a GGUF file; `UserError` if that fails."""
        path, given = Path(name).expanduser(), {}
        if path.suffix == ".gguf" and path.is_file():
            place, given = str(path.parent), {"gguf_file": path.name}
        else:
            place = resolve("data.tokenizer", name)
        transformers = import_extra("transformers", "hf", f"data.tokenizer={name}: a Hugging Face tokenizer")
        with opening(f"data.tokenizer={name}: neither char, byte or bpe-N nor a tokenizer that transformers can open"):
            tokenizer = transformers.AutoTokenizer.from_pretrained(place, trust_remote_code=False, **given)
        return cls(tokenizer.init_kwargs.get(_NAME, name), tokenizer)

    def encode(self, text: str) -> list[int]:
        return [int(i) for i in self.encode_batch([text])[0]]

    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        if self._backend is not None:
            rows = [e.ids for e in self._backend.encode_batch_fast(list(texts), add_special_tokens=False)]
        else:
            options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
            rows = [self.inner(text, **options)["input_ids"] for text in texts]
        return [np.array(row, dtype=np.uint32) for row in rows]

    def prompt(self, text: str, *, chat: bool = False) -> list[int]:
        """The ids of a whole prompt, with the special tokens that a text starts with; ``chat``: as a user's message."""
        if not chat:
            return [int(i) for i in self.inner.encode(text)]
        message = [{"role": "user", "content": text}]
        written = self.inner.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
        if self._backend is None:
            return [int(i) for i in self.inner.encode(written, add_special_tokens=False)]
        self._backend.encode_special_tokens = False  # here the format's own marks are meant
        try:
            return [int(i) for i in self._backend.encode(written, add_special_tokens=False).ids]
        finally:
            self._backend.encode_special_tokens = True

    @property
    def has_chat_format(self) -> bool:
        """Whether the tokenizer comes with a format for conversations."""
        return bool(getattr(self.inner, "chat_template", None))

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        options = {"skip_special_tokens": skip_special_tokens, "clean_up_tokenization_spaces": False}
        return str(self.inner.decode([int(i) for i in ids], **options))

    def save(self, folder: str | Path) -> None:
        self.inner.init_kwargs[_NAME] = self.name  # transformers writes what it does not know beside the rest
        self.inner.save_pretrained(str(folder))

    def fingerprint(self) -> str:
        if self._backend is not None:
            described = self._backend.to_str()
        else:
            described = json.dumps([type(self.inner).__name__, self.inner.get_vocab()], sort_keys=True)
        return hashlib.sha256(described.encode()).hexdigest()

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...] | None:
        if self._backend is None:
            return None
        decoder = json.loads(self._backend.to_str())["decoder"]
        is_byte_level = decoder is not None and decoder["type"] == "ByteLevel"
        return byte_level.token_bytes(self._backend, self.vocab_size) if is_byte_level else None
