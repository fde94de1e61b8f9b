"""One face for the tokenizers that prompts come through: ours and those of Hugging Face."""

from __future__ import annotations

from typing import Any, Protocol

from gatewright.data.tokenization.base import Tokenizer
from gatewright.errors import UserError


class Text(Protocol):
    """Text to token ids and back."""

    def prompt(self, text: str) -> list[int]:
        """The ids of a whole prompt, with the special tokens that a text starts with."""

    def piece(self, text: str) -> list[int]:
        """The ids of a piece of text, without any special token."""

    def decode(self, ids: list[int]) -> str:
        """The text of ids."""

    @property
    def end_ids(self) -> set[int]:
        """The tokens that end a text."""


class OwnText:
    """A tokenizer of `gatewright.data`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.prompt = self.piece = tokenizer.encode
        self.decode = tokenizer.decode
        self.end_ids = {tokenizer.eot_id}


class HuggingFaceText:
    """A tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self.end_ids = set() if tokenizer.eos_token_id is None else {tokenizer.eos_token_id}

    def prompt(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text))

    def piece(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


def text_of(tokenizer: Any) -> Text:
    """The face of ``tokenizer``. Raises `UserError` if there is none."""
    if tokenizer is None:
        raise UserError("tokenizer is None: without one, give prompts and delimiter as token ids")
    return OwnText(tokenizer) if isinstance(tokenizer, Tokenizer) else HuggingFaceText(tokenizer)
