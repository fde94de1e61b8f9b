"""The end of thinking: whole token sequences, all that spell it, and never a part of one."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gatewright.data.tokenization import CharTokenizer
from gatewright.errors import UserError
from gatewright.paths.delimiter import just_ended, spellings
from gatewright.paths.text import Text, text_of


def bpe() -> PreTrainedTokenizerFast:
    """Byte-level BPE that has learnt `` ####`` and ``####`` as different tokens, and parts of ``</think>``."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    backend.train_from_iterator(["x #### 1", "#### 2", "\n####\n", "think think <think> a </think>"] * 50, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def ends(text: Text, written: str, delimiter: str) -> list[int]:
    """How many tokens of ``written`` there are each time that thinking would end."""
    found = spellings(delimiter, text.piece, text.decode)
    ids = torch.tensor([text.piece(written)])
    return [k for k in range(1, ids.shape[1] + 1) if just_ended(ids[:, :k], found).item()]


@pytest.mark.parametrize("written", ["a ####", "a\n####", "a####", "####"])
def test_it_is_found_whatever_stands_before_it(written: str) -> None:
    text = text_of(bpe())
    assert len(spellings("####", text.piece, text.decode)) > 1
    assert ends(text, written + " 5", "####") == [len(text.piece(written))]


def test_parts_do_not_end_thinking() -> None:
    text = text_of(bpe())
    whole = text.piece("</think>")
    assert len(whole) > 2
    assert ends(text, "a < b </thin think> <think>", "</think>") == []
    assert ends(text, "so</think>4", "</think>") == [len(text.piece("so</think>"))]


def test_rows_are_judged_each_by_itself() -> None:
    tokens = torch.tensor([[1, 2, 3], [3, 1, 2], [2, 1, 2], [9, 9, 7]])
    assert just_ended(tokens, [(1, 2), (7,)]).tolist() == [False, True, True, True]
    assert just_ended(tokens, [(9, 1, 2, 3)]).tolist() == [False] * 4
    assert just_ended(tokens, []).tolist() == [False] * 4


@pytest.mark.parametrize("delimiter", ["", "é#"])
def test_a_delimiter_that_cannot_be_written(delimiter: str) -> None:
    tokenizer = CharTokenizer.of("0123# \n")
    with pytest.raises(UserError, match="cannot write"):
        spellings(delimiter, tokenizer.encode, tokenizer.decode)
    assert spellings("#", tokenizer.encode, tokenizer.decode)[0] in {(t,) for t in tokenizer.encode("#")} | {
        tuple(tokenizer.encode(" #"))
    }


def test_a_tokenizer_without_the_space_still_has_the_delimiter() -> None:
    tokenizer = CharTokenizer.of("0123#")
    assert (tokenizer.encode("#")[0],) in spellings("#", tokenizer.encode, tokenizer.decode)
