"""Tokenizers: exact round trips, bytes of tokens, saving, and agreement with transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_text import make_document
from tokenizers import decoders, models, pre_tokenizers

from gatewright.data.tokenization import (
    END_OF_TEXT,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    PretrainedTokenizer,
    Tokenizer,
    bpe,
    load_tokenizer,
    tokenizer_recipe,
)
from gatewright.errors import UserError

CORPUS = [make_document(seed) for seed in range(8)]
BUILT = {spec: tokenizer_recipe(spec).build(lambda: iter(CORPUS)) for spec in ("char", "byte", "bpe-300")}
AWKWARD = f"  two  spaces\r\n\n\ttab {END_OF_TEXT} it's naïve 漢字 🙂\x00\x1c\u2028 "
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@pytest.fixture(params=BUILT)
def tokenizer(request) -> Tokenizer:
    return BUILT[request.param]


@pytest.mark.parametrize("spec", ["byte", "bpe-300"])
@settings(max_examples=200, deadline=None)
@given(text=ANY_TEXT)
def test_any_text_comes_back_exactly(spec, text):
    tokenizer = BUILT[spec]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert list(tokenizer.encode_batch([text])[0]) == ids
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode()


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from(sorted(set("".join(CORPUS)))), max_size=200))
def test_characters_seen_in_training_come_back_exactly(text):
    tokenizer = BUILT["char"]
    ids = tokenizer.encode(text)
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert list(tokenizer.encode_batch([text])[0]) == ids
    assert b"".join(tokenizer.token_bytes[i] for i in ids) == text.encode()


def test_characters_not_seen_in_training_are_unknown():
    tokenizer = CharTokenizer.of("abc")
    unknown = tokenizer.id_of("<unk>")
    assert tokenizer.encode("aZ\U0010ffffc") == [2, unknown, unknown, 4]
    assert list(tokenizer.encode_batch(["aZ\U0010ffffc"])[0]) == [2, unknown, unknown, 4]
    assert tokenizer.decode([2, unknown, 4]) == "a<unk>c"
    assert tokenizer.token_bytes[unknown] == b"?"


def test_ids_fit_the_vocabulary_and_the_separator_is_never_read_from_text(tokenizer):
    ids = tokenizer.encode(AWKWARD)
    assert max(ids) < tokenizer.vocab_size
    assert tokenizer.eot_id not in ids
    assert tokenizer.eot_id < tokenizer.vocab_size
    assert tokenizer.token_bytes[tokenizer.eot_id] == b""
    assert tokenizer.decode([tokenizer.eot_id]) == ""
    assert tokenizer.decode([tokenizer.eot_id], skip_special_tokens=False) == END_OF_TEXT
    assert len(tokenizer.token_bytes) == tokenizer.vocab_size


def test_vocabularies():
    assert BUILT["byte"].vocab_size == 257
    assert BUILT["byte"].encode("é") == [0xC3, 0xA9]
    assert BUILT["bpe-300"].vocab_size == 300
    assert BUILT["char"].vocab_size == len(set("".join(CORPUS))) + 2


def test_saved_tokenizers_load_alike_here_and_in_transformers(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "saved")
    text = CORPUS[0] + "unseen: Ω"
    ids = tokenizer.encode(text)

    again = load_tokenizer(tmp_path / "saved")
    assert type(again) is type(tokenizer)
    assert (again.name, again.vocab_size, again.eot_id) == (tokenizer.name, tokenizer.vocab_size, tokenizer.eot_id)
    assert again.encode(AWKWARD) == tokenizer.encode(AWKWARD)
    assert again.fingerprint() == tokenizer.fingerprint()

    for opener in (transformers.AutoTokenizer, transformers.PreTrainedTokenizerFast):
        theirs = opener.from_pretrained(tmp_path / "saved")
        assert theirs(text)["input_ids"] == ids
        assert theirs.decode(ids) == tokenizer.decode(ids)
        assert theirs.eos_token_id == tokenizer.eot_id
        assert len(theirs) == tokenizer.vocab_size


def test_bpe_learns_the_same_in_every_process():
    script = (
        "import sys, json; from gatewright.data.tokenization import BPETokenizer; "
        "print(BPETokenizer.train(300, lambda: iter(json.load(sys.stdin))).fingerprint())"
    )
    environment = {"RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(CORPUS), capture_output=True, text=True, env=environment
    )
    assert done.stdout.strip() == BUILT["bpe-300"].fingerprint(), done.stderr


def test_bpe_of_a_tiny_corpus_has_the_tokens_there_are():
    tokenizer = BPETokenizer.train(1000, lambda: iter(["aaaa bbbb"]))
    assert 257 < tokenizer.vocab_size < 1000
    assert tokenizer.name == "bpe-1000"


SPACED = BPETokenizer.train(400, lambda: iter([f"a{run}b" * 3 for run in map("".join, product(" \n\t", repeat=4))]))
"""A tokenizer that has learnt to join white space, so that a cut inside a run of it would show."""


@settings(max_examples=500, deadline=None)
@given(
    text=st.text(st.sampled_from("abé \n\n\n\t\r'1.\u00a0\u2003\x1c\x85\u200b\u0301"), max_size=60),
    piece=st.integers(1, 10),
)
def test_a_long_document_is_encoded_as_a_whole_would_be(text, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bpe, "PIECE", piece)
        assert "".join(bpe._pieces(text)) == text
        pieced = SPACED.encode_batch([text, "b\n" + text])
    assert [list(row) for row in pieced] == [SPACED.encode(text), SPACED.encode("b\n" + text)]


def test_long_documents_are_really_cut(monkeypatch):
    monkeypatch.setattr(bpe, "PIECE", 50)
    assert max(map(len, bpe._pieces("a line of text\n\n" * 100))) < 80


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("bpe-256", "data.tokenizer=bpe-256: needs at least 257 tokens"),
        ("chars", r"data.tokenizer=chars: unknown; did you mean 'char'\?"),
        ("bpe1024", r"did you mean 'bpe-1024'\?"),
        ("./nowhere", r"data.tokenizer=./nowhere: no such folder"),
        (__file__, r"data.tokenizer=.*: is a file, not a folder"),
        ("no-such/tokenizer", "data.tokenizer=no-such/tokenizer: neither"),
    ],
)
def test_wrong_specifications_are_one_line(spec, message):
    with pytest.raises(UserError, match=message) as raised:
        tokenizer_recipe(spec)
    assert "\n" not in str(raised.value)


def test_missing_transformers_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"data.tokenizer=gpt2: .* 'transformers' \(pip install gatewright\[hf\]\)"):
        tokenizer_recipe("gpt2")


def test_no_tokenizer_to_load(tmp_path):
    with pytest.raises(UserError, match="nowhere: no such folder"):
        load_tokenizer(tmp_path / "nowhere")
    with pytest.raises(UserError, match="neither char"):
        load_tokenizer(tmp_path)


@pytest.fixture
def byte_level_folder(tmp_path):
    """A GPT-2-like tokenizer as transformers writes it, without our mark."""
    BUILT["bpe-300"].save(tmp_path / "ours")
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "ours", model_max_length=16)
    theirs.init_kwargs.pop("gatewright")
    theirs.add_tokens(["⟨added⟩"])
    theirs.save_pretrained(tmp_path / "byte-level")
    return tmp_path / "byte-level"


def test_a_hugging_face_tokenizer_from_a_folder(byte_level_folder, tmp_path):
    theirs = tokenizer_recipe(str(byte_level_folder)).build(lambda: iter(()))
    assert isinstance(theirs, PretrainedTokenizer)
    ours = BUILT["bpe-300"]
    assert (theirs.vocab_size, theirs.eot_id) == (301, ours.eot_id)
    assert theirs.encode(AWKWARD) == ours.encode(AWKWARD)
    assert theirs.decode(theirs.encode(AWKWARD)) == AWKWARD
    assert theirs.token_bytes == (*ours.token_bytes, "⟨added⟩".encode())
    assert theirs.encode("a ⟨added⟩")[-1] == 300

    theirs.save(tmp_path / "saved")
    again = load_tokenizer(tmp_path / "saved")
    assert again.name == theirs.name
    assert again.fingerprint() == theirs.fingerprint()
    assert again.encode(AWKWARD) == theirs.encode(AWKWARD)


def test_a_folder_of_ours_is_a_specification_too(tmp_path):
    BUILT["bpe-300"].save(tmp_path)
    recipe = tokenizer_recipe(str(tmp_path))
    assert recipe.name == "bpe-300"
    assert recipe.identity == BUILT["bpe-300"].fingerprint()
    assert recipe.build(lambda: iter(())).encode(AWKWARD) == BUILT["bpe-300"].encode(AWKWARD)


def test_a_tokenizer_without_bytes_of_its_own(tmp_path):
    words = ["[UNK]", "[SEP]", "the", "gate", "##s"]
    backend = tokenizers.Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.WordPiece()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="[UNK]", sep_token="[SEP]"
    ).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.eot_id == 1
    assert tokenizer.encode("the gates") == [2, 3, 4]
    assert tokenizer.decode(np.array([2, 3, 4])) == "the gates"
    assert tokenizer.token_bytes is None


def test_a_tokenizer_without_a_separator_is_refused(tmp_path):
    backend = tokenizers.Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no end-of-sequence token"):
        load_tokenizer(tmp_path)


def test_a_python_tokenizer_works_too(tmp_path):
    class Letters(transformers.PreTrainedTokenizer):
        def __init__(self, **options):
            self._letters = {"a": 0, "b": 1, "<eos>": 2}
            super().__init__(eos_token="<eos>", **options)

        vocab_size = 3

        def get_vocab(self):
            return dict(self._letters)

        def _tokenize(self, text):
            return list(text)

        def _convert_token_to_id(self, token):
            return self._letters.get(token)

        def _convert_id_to_token(self, index):
            return next(token for token, i in self._letters.items() if i == index)

        def convert_tokens_to_string(self, tokens):
            return "".join(tokens)

    tokenizer = PretrainedTokenizer("letters", Letters())
    assert tokenizer.encode("abba") == [0, 1, 1, 0]
    assert tokenizer.decode([0, 1, 1, 0, 2]) == "abba"
    assert (tokenizer.eot_id, tokenizer.vocab_size, tokenizer.token_bytes) == (2, 3, None)
    assert len(tokenizer.fingerprint()) == 64


def test_byte_tokens_equal_the_backend_also_on_special_text():
    tokenizer = ByteTokenizer.make()
    assert tokenizer.encode(AWKWARD) == list(AWKWARD.encode()) == tokenizer.encode_batch([AWKWARD])[0].tolist()
