"""The printable stand-ins for bytes of byte-level tokenizers (Radford et al., 2019, GPT-2)."""

from __future__ import annotations

from functools import cache

import tokenizers
from tokenizers import pre_tokenizers


@cache
def symbols() -> tuple[str, ...]:
    """The character that stands for each byte 0..255: itself if it is printable, else the next one from U+0100 on."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    printable = {ord(symbol) for symbol in alphabet if ord(symbol) < 256}
    stand_ins = iter(symbol for symbol in alphabet if ord(symbol) >= 256)
    return tuple(chr(byte) if byte in printable else next(stand_ins) for byte in range(256))


def token_bytes(backend: tokenizers.Tokenizer, vocab_size: int) -> tuple[bytes, ...]:
    """The bytes of every token of a byte-level ``backend``; none for special tokens and for ids without a token."""
    byte_of = {symbol: byte for byte, symbol in enumerate(symbols())}
    added = backend.get_added_tokens_decoder()

    def spell(token_id: int) -> bytes:
        if token_id in added:
            return b"" if added[token_id].special else added[token_id].content.encode()
        token = backend.id_to_token(token_id)
        return bytes(byte_of[symbol] for symbol in token) if token is not None else b""

    return tuple(map(spell, range(vocab_size)))
