"""Evaluation batches score fixed targets once each; their words and bytes are counted exactly."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers

from gatewright.data import Units, evaluation_batches, load_tokenizer, prepare, text_units
from gatewright.data.tokenization import tokenizer_recipe
from gatewright.errors import UserError


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 6), st.none() | st.integers(1, 400))
def test_the_same_targets_once_each_for_every_shape(count, block_size, batch_size, max_tokens):
    batches = evaluation_batches(np.arange(count), block_size, batch_size, max_tokens)
    assert all(x.shape == y.shape == (batch_size, block_size) for x, y in batches)
    labels = torch.cat([labels.flatten() for _, labels in batches])
    inputs = torch.cat([inputs.flatten() for inputs, _ in batches])
    scored = labels != -100
    expected = min(count - 1, max_tokens or count)
    assert labels[scored].tolist() == list(range(1, expected + 1))
    assert torch.equal(inputs[scored] + 1, labels[scored])
    assert len(batches) == -(-expected // (batch_size * block_size))


def test_windows_see_their_own_context_only():
    (inputs, labels), *_ = evaluation_batches(np.arange(100), block_size=8, batch_size=3)
    assert inputs[:, 0].tolist() == [0, 8, 16]
    assert labels[:, -1].tolist() == [8, 16, 24]


@pytest.mark.parametrize("wrong", [{"block_size": 0}, {"batch_size": 0}, {"max_tokens": 0}])
def test_wrong_sizes(wrong):
    with pytest.raises(UserError, match="must be at least 1"):
        evaluation_batches(np.arange(10), **{"block_size": 4, "batch_size": 2, "max_tokens": 8, **wrong})


def test_too_few_tokens():
    with pytest.raises(UserError, match="1 tokens are too few"):
        evaluation_batches(np.arange(1), 4, 2)


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe-300"])
def test_units_of_everything_are_those_of_the_text(jsonl, files_config, tokenizer):
    data = prepare(files_config(jsonl, tokenizer=tokenizer, validation_fraction=0.3))
    validation = data.validation
    texts = [data.tokenizer.decode(validation.document(i)) for i in range(validation.documents)]
    texts[0] = texts[0].removeprefix(data.tokenizer.decode(validation[:1]))  # the first token of all is no target
    units = text_units(data, evaluation_batches(validation, 32, 4))
    assert units == Units(
        tokens=len(validation) - 1,
        words=sum(len(text.split()) for text in texts),
        bytes=sum(len(text.encode()) for text in texts),
    )
    assert text_units(data, range(1, len(data.validation))) == units


def test_units_hang_on_the_targets_and_not_on_the_shape_of_batches(jsonl, files_config):
    data = prepare(files_config(jsonl, tokenizer="bpe-300"))
    counted = {
        text_units(data, evaluation_batches(data.validation, block, batch, 200)) for block, batch in ((7, 3), (64, 2))
    }
    assert counted == {text_units(data, range(1, 201))}


def test_units_of_a_handmade_text():
    tokenizer = tokenizer_recipe("byte").build(lambda: iter(()))
    ids = [*tokenizer.encode("né  two\nthree "), tokenizer.eot_id, *tokenizer.encode("four"), tokenizer.eot_id]
    labels = torch.tensor(ids)
    assert text_units(tokenizer, labels) == Units(tokens=21, words=4, bytes=19)
    masked = labels.clone()
    masked[:4] = -100  # "né " goes
    assert text_units(tokenizer, masked) == Units(tokens=17, words=3, bytes=15)
    assert text_units(tokenizer, [labels[:6], labels[6:]]) == Units(tokens=21, words=4, bytes=19)
    # From the middle of é on: one of its two bytes.
    assert text_units(tokenizer, labels[2:]).bytes == 17
    # Separators keep documents apart: "three" and "four" without white space between them are two words.
    assert text_units(tokenizer, torch.tensor([*tokenizer.encode("a"), 256, *tokenizer.encode("b")])).words == 2


def test_a_range_needs_the_corpus(jsonl, files_config):
    data = prepare(files_config(jsonl))
    with pytest.raises(TypeError, match="needs the corpus"):
        text_units(data.tokenizer, range(3))


def test_units_by_decoding_where_tokens_have_no_bytes(tmp_path):
    words = ["[UNK]", "[SEP]", "the", "gate", "##s"]
    backend = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    inner = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", sep_token="[SEP]")
    inner.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert text_units(tokenizer, torch.tensor([2, 3, 4, 1, 3])) == Units(tokens=5, words=3, bytes=13)
