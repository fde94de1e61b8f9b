"""Tokenizers: characters, bytes, BPE trained on the corpus, and those of Hugging Face models."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import tokenizers

from gatewright.data.tokenization.base import END_OF_TEXT, Recipe, Tokenizer
from gatewright.data.tokenization.bpe import LEARNT_FROM, SMALLEST, BPETokenizer
from gatewright.data.tokenization.byte import ByteTokenizer
from gatewright.data.tokenization.char import CharTokenizer
from gatewright.data.tokenization.fast import MARK, FastTokenizer
from gatewright.data.tokenization.pretrained import PretrainedTokenizer
from gatewright.errors import UserError, did_you_mean
from gatewright.reading import opening, read_json_object, read_text

__all__ = [
    "END_OF_TEXT",
    "BPETokenizer",
    "ByteTokenizer",
    "CharTokenizer",
    "PretrainedTokenizer",
    "Recipe",
    "Tokenizer",
    "load_tokenizer",
    "tokenizer_recipe",
]

_BPE = re.compile(r"bpe-(\d+)")

PROBE = "The gate, 2 × é\n\t\U0001f600"
"""What a tokenizer has to get through before it is believed."""


def tokenizer_recipe(spec: str) -> Recipe:
    """How to build the tokenizer that ``data.tokenizer`` names.

    ``char`` | ``byte`` | ``bpe-N`` | a Hugging Face name | a local folder. Raises `UserError` at once for a
    specification that no corpus could be tokenized with.
    """
    if spec == "char":
        return Recipe(spec, spec, CharTokenizer.train, learns_from=None)
    if spec == "byte":
        return Recipe(spec, spec, _given(ByteTokenizer.make()))
    if match := _BPE.fullmatch(spec):
        size = int(match[1])
        if size < SMALLEST:
            raise UserError(f"data.tokenizer={spec}: needs at least {SMALLEST} tokens (the bytes and {END_OF_TEXT})")
        return Recipe(spec, spec, partial(BPETokenizer.train, size), learns_from=LEARNT_FROM)
    folder = Path(spec).expanduser()
    if not folder.exists() and (hint := did_you_mean(spec, ("char", "byte", "bpe-1024"))):
        raise UserError(f"data.tokenizer={spec}: unknown{hint}")  # no need to look for a typing error on the hub
    tokenizer: Tokenizer = load_tokenizer(folder) if _is_ours(folder) else PretrainedTokenizer.load(spec)
    return Recipe(tokenizer.name, tokenizer.fingerprint(), _given(tokenizer))


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer that ``Tokenizer.save`` wrote to ``folder``, or any that transformers finds there.

    Raises `UserError` if there is none.
    """
    folder = Path(folder)
    if not _is_ours(folder):
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder, so no tokenizer")
        return PretrainedTokenizer.load(str(folder))
    name = str(read_json_object(folder / "tokenizer_config.json")[MARK])
    described = read_text(folder / "tokenizer.json")
    kinds: dict[str, type[FastTokenizer]] = {"char": CharTokenizer, "byte": ByteTokenizer}
    with opening(f"{folder}: no sound tokenizer"):
        tokenizer = kinds.get(name, BPETokenizer)(name, tokenizers.Tokenizer.from_str(described))
        tokenizer.decode(np.concatenate(tokenizer.encode_batch([PROBE, ""])))
        assert tokenizer.token_bytes is not None
    return tokenizer


def _is_ours(folder: Path) -> bool:
    config = folder / "tokenizer_config.json"
    return config.is_file() and MARK in read_json_object(config)


def _given(tokenizer: Tokenizer) -> Callable[[Callable[[], Iterator[str]]], Tokenizer]:
    return lambda texts: tokenizer
