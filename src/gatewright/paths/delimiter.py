"""Where thinking ends: a delimiter, found as a sequence of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gatewright.errors import UserError

Spelling = tuple[int, ...]


def spellings(delimiter: str, encode: Callable[[str], list[int]], decode: Callable[[list[int]], str]) -> list[Spelling]:
    """The token sequences that spell ``delimiter``: by itself, after a space, and after the start of a line.

    Tokenizers write the same text differently by what stands before it. Raises `UserError` for an empty delimiter and
    for one that the tokenizer cannot write.
    """
    found = {tuple(encode(delimiter)), tuple(encode(f" {delimiter}"))}
    newline, line = encode("\n"), encode(f"\n{delimiter}")
    if line[: len(newline)] == newline:
        found.add(tuple(line[len(newline) :]))
    found = {spelling for spelling in found if delimiter in decode(list(spelling))} if delimiter else set()
    if not found:
        raise UserError(f"delimiter={delimiter!r}: the tokenizer cannot write it")
    return sorted(found)


def just_ended(tokens: Tensor, delimiters: Sequence[Spelling]) -> Tensor:
    """Whether ``tokens`` ``(R, L)`` end with one of the delimiters, whole; ``(R,)``."""
    found = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for delimiter in delimiters:
        if len(delimiter) <= tokens.shape[1]:
            wanted = torch.tensor(delimiter, device=tokens.device)
            found |= (tokens[:, -len(delimiter) :] == wanted).all(-1)
    return found
