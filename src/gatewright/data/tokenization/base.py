"""What a tokenizer is to the rest of Gatewright."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TokenIds = NDArray[np.uint32]

END_OF_TEXT = "<|endoftext|>"
"""The document separator of the tokenizers that are built here."""


class Tokenizer(ABC):
    """Text to token ids and back.

    ``<|endoftext|>`` and other special tokens are never read out of a text: there they are ordinary characters. The
    separator is put between documents by its id, ``eot_id``.
    """

    name: str
    """As in ``data.tokenizer``: ``char``, ``bpe-1024``, or the name of a Hugging Face tokenizer."""
    vocab_size: int
    """One more than the largest token id."""
    eot_id: int
    """The token between documents; it stands for no text."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Token ids of ``text``, without any special tokens around them."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[TokenIds]:
        """``encode`` of many texts at once, in parallel where that helps; one array a text."""

    @abstractmethod
    def decode(self, ids: Iterable[int], skip_special_tokens: bool = True) -> str:
        """The text of ``ids``; ``skip_special_tokens=False`` writes out separators too."""

    @abstractmethod
    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, which `load_tokenizer` and transformers can open."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of everything that decides how text is encoded."""

    @cached_property
    def token_bytes(self) -> tuple[bytes, ...] | None:
        """The UTF-8 bytes that each token id stands for (none for special tokens).

        None where tokens have no bytes of their own because decoding adds or drops white space between them.
        """
        return None


@dataclass(frozen=True)
class Recipe:
    """How to come by the tokenizer that ``data.tokenizer`` asks for.

    ``identity`` tells recipes apart whose tokenizers differ on the same corpus. ``build`` gets a function that iterates
    over texts of the training split; only tokenizers with a trained vocabulary call it.
    """

    name: str
    identity: str
    build: Callable[[Callable[[], Iterator[str]]], Tokenizer]
    learns_from: int | None = 0
    """About how many bytes of training text ``build`` reads; None: all of it, 0: none, the tokenizer is ready."""
