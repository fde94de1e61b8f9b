"""Mixtures: whose row each row is, what each source gives, one tokenizer, and what is refused."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewright.config import DataConfig, load_config
from gatewright.data import BlockSampler, Mixture, MixtureSampler, TokenizedCorpus, preparation, prepare, shards
from gatewright.data.mixture_sampler import PERIOD, rows_of_a_period, take_turns
from gatewright.errors import UserError
from gatewright.evaluate.text import evaluation_text

SHARES = st.lists(st.floats(0.001, 1.0), min_size=1, max_size=6).map(
    lambda weights: {str(i): weight / sum(weights) for i, weight in enumerate(weights)}
)


@settings(max_examples=25, deadline=None)
@given(SHARES)
def test_no_source_is_ever_far_from_its_share(shares):
    rows = rows_of_a_period(shares)
    assert PERIOD % rows.sum() == 0
    assert np.abs(rows / rows.sum() - list(shares.values())).max() <= 1 / PERIOD
    turns, before = take_turns(rows)
    had = np.cumsum(np.eye(len(rows), dtype=int)[turns], axis=0)
    assert had[-1].tolist() == rows.tolist()
    due = np.arange(1, len(turns) + 1)[:, None] * rows / rows.sum()
    assert np.abs(had - due).max() < 2
    assert before.tolist() == [int(had[row, source]) - 1 for row, source in enumerate(turns)]


def test_a_share_that_would_get_no_row_is_refused():
    with pytest.raises(UserError, match=r"data\.sources\.dust\.weight: less than one row in 10,000"):
        rows_of_a_period({"most": 0.99999, "dust": 0.00001})


def numbers(first: int, count: int) -> Any:
    """A corpus whose training tokens are consecutive numbers."""
    return SimpleNamespace(train=np.arange(first, first + count))


MIXED: Any = SimpleNamespace(
    parts={"a": numbers(0, 1000), "b": numbers(1000, 330), "c": numbers(2000, 77)},
    shares={"a": 0.7, "b": 0.2, "c": 0.1},
)


def test_each_source_is_walked_as_it_would_be_alone():
    """A source's rows, taken out of the mixture, are the windows of its own sampler: none repeated, none left out."""
    mixture = MixtureSampler(MIXED, block_size=16, batch_size=8, seed=4)
    rows = torch.cat([mixture.batch(step)[0] for step in range(100)])
    for name, part in MIXED.parts.items():
        first = int(part.train[0])
        own = rows[(rows[:, 0] >= first) & (rows[:, 0] < first + len(part.train))]
        assert len(own) == pytest.approx(800 * MIXED.shares[name], abs=2)
        alone = BlockSampler(part.train, 16, 1, seed=4)
        assert own.tolist() == [alone.batch(window)[0][0].tolist() for window in range(len(own))]


def test_a_batch_hangs_on_seed_and_step_alone_and_ranks_take_their_rows():
    forward = MixtureSampler(MIXED, 16, 12, seed=1)
    batches = [forward.batch(step) for step in range(30)]
    for step in reversed(range(30)):
        fresh = MixtureSampler(MIXED, 16, 12, seed=1)
        assert all(map(torch.equal, fresh.batch(step), batches[step]))
        parts = [fresh.rows(step, start, stop) for start, stop in pairwise((0, 1, 7, 12))]
        for i in (0, 1):
            assert torch.equal(torch.cat([part[i] for part in parts]), batches[step][i])
    small = MixtureSampler(MIXED, 16, 4, seed=1)
    assert torch.equal(torch.cat([small.batch(3 * 7 + micro)[1] for micro in range(3)]), batches[7][1])
    assert not torch.equal(MixtureSampler(MIXED, 16, 12, seed=2).batch(0)[0], batches[0][0])
    with pytest.raises(ValueError, match="batches of 12"):
        forward.rows(0, 3, 13)


def test_batches_far_on_need_nothing_before_them():
    sampler = MixtureSampler(MIXED, 16, 8, seed=0)
    far = 10**9
    sources, windows = sampler.origins(8 * far, 8 * far + 8)
    counts = np.array([7, 2, 1])
    assert (windows // (8 * far // 10) == counts[sources]).all()
    assert sampler.batch(far)[0].shape == (8, 16)


def test_epochs_are_counted_by_source():
    assert MixtureSampler(MIXED, 16, 10, seed=0).epochs(62) == {"a": 434 / 62, "b": 124 / 20, "c": 62 / 4}


@pytest.fixture
def texts(tmp_path: Path, documents: list[str]) -> dict[str, Path]:
    """Two sources: twenty documents, and forty short ones with letters of their own."""
    paths = {"long": tmp_path / "long.jsonl", "short": tmp_path / "short.jsonl"}
    paths["long"].write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    paths["short"].write_text("".join(json.dumps({"body": f"Ω{i} żółw " * 9}) + "\n" for i in range(40)))
    return paths


def mixture_config(texts: dict[str, Path], weights: tuple[float, float] = (3, 1), **others: Any) -> DataConfig:
    sources = {
        "long": {"path": str(texts["long"]), "weight": weights[0]},
        "short": {"path": str(texts["short"]), "weight": weights[1], "text_field": "body", "validation_fraction": 0.2},
    }
    return DataConfig(**{"source": "files", "sources": sources, "tokenizer": "byte", **others})


def test_what_a_mixture_says_of_itself(texts):
    data = prepare(mixture_config(texts))
    assert isinstance(data, Mixture)
    facts = data.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["source"]["name"] == "75 % long + 25 % short"
    assert facts["sources"]["short"]["share"] == 0.25
    assert facts["sources"]["short"]["validation"]["documents"] == 8
    assert facts["sources"]["long"]["validation"]["documents"] == 1
    assert facts["train"]["documents"] == 32 + 19
    assert facts["train"]["tokens"] == sum(len(part.train) for part in data.parts.values())
    other = prepare(mixture_config(texts, (1, 1))).describe()
    assert other["content_sha256"] == facts["content_sha256"]
    alone = prepare(DataConfig(source="files", path=str(texts["long"]), tokenizer="byte"))
    assert isinstance(alone, TokenizedCorpus)
    assert alone.folder == data.parts["long"].folder  # a tokenizer that is given: nothing is encoded twice
    assert alone.describe()["content_sha256"] == facts["sources"]["long"]["content_sha256"] != facts["content_sha256"]


@pytest.mark.parametrize("tokenizer", ["char", "bpe-300"])
def test_one_tokenizer_is_learnt_from_the_training_text_of_all(texts, tokenizer, monkeypatch):
    data = prepare(mixture_config(texts, tokenizer=tokenizer))
    one, two = (part.tokenizer for part in data.parts.values())
    assert one.fingerprint() == two.fingerprint() == data.tokenizer.fingerprint()
    held_out = data.parts["long"]
    for part in (held_out, data.parts["short"]):
        text = part.tokenizer.decode(part.train.document(0))
        assert "<unk>" not in text
        assert data.tokenizer.encode(text) == part.train.document(0).tolist()
    if tokenizer == "char":
        assert {"Ω", "ż", "–"} <= set(data.tokenizer.backend.get_vocab())
    monkeypatch.setattr(preparation, "spool_documents", lambda *others: pytest.fail("read again"))
    again = prepare(mixture_config(texts, (1, 9), tokenizer=tokenizer))  # whatever the weights
    assert [part.folder for part in again.parts.values()] == [part.folder for part in data.parts.values()]


def test_learning_a_tokenizer_is_taken_up_again(texts, monkeypatch):
    config = mixture_config(texts, tokenizer="bpe-300")
    with monkeypatch.context() as patch:
        patch.setattr(
            "gatewright.data.prepared.make_tokenizer", lambda *others: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            prepare(config)
    read = []
    spool_documents = preparation.spool_documents
    monkeypatch.setattr(
        preparation, "spool_documents", lambda *them: (read.append(them[0].label), spool_documents(*them))[1]
    )
    prepare(config)
    assert len(read) == 2  # each once more to be encoded, none to learn from


def test_batches_of_a_mixture_in_shards_resume_without_repeating_or_skipping(texts, monkeypatch):
    monkeypatch.setattr(shards, "SMALLEST", 2000)
    monkeypatch.setattr(shards, "LARGEST", 2000)
    data = prepare(mixture_config(texts, processes=1))
    assert data.describe()["sources"]["long"]["train"]["shards"] > 3
    whole = MixtureSampler(data, 32, 6, seed=9)
    straight = [whole.batch(step) for step in range(120)]
    resumed = MixtureSampler(prepare(mixture_config(texts, processes=1)), 32, 6, seed=9)
    for step in range(77, 120):
        assert all(map(torch.equal, resumed.batch(step), straight[step]))
    ring = {name: part.train[:] for name, part in data.parts.items()}
    sources, windows = whole.origins(0, 720)
    rows = torch.cat([batch[0] for batch in straight])
    for source, name in enumerate(whole.names):
        alone = BlockSampler(ring[name], 32, 1, seed=9)
        own = windows[sources == source]
        assert own.tolist() == list(range(len(own)))
        expected = [alone.batch(int(window))[0][0].tolist() for window in own]
        assert rows[torch.from_numpy(sources == source)].tolist() == expected


def test_keys_of_a_mixture_from_the_command_line(tmp_path):
    config = load_config(["data=files", "data.sources={web: {path: a, weight: 7}, books: {path: b}}"])
    assert config.data.weights() == {"web": 0.875, "books": 0.125}
    books = config.data.each_source()["books"]
    assert (books.source, books.path, books.sources) == ("files", "b", {})
    also = load_config(["data.sources.web.path=a", "data.sources.web.source=files", "data.sources.sotu.weight=0.5"])
    assert {name: of.source for name, of in also.data.each_source().items()} == {"web": "files", "sotu": "sotu"}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "data.sources={web: {pat: a}}",
            r"unknown key 'data\.sources\.web\.pat'; did you mean 'data\.sources\.web\.path'",
        ),
        ("data.sources={web: {path: a, weight: 0}}", r"data\.sources\.web\.weight=0: must be positive"),
        ("data.sources={web: {path: a, weight: much}}", r"data\.sources\.web\.weight='much': expected float, got str"),
        ("data.sources={web: {path: 3}}", r"data\.sources\.web\.path=3: expected str or null"),
        ("data.sources={web: {path: a, tokenizer: byte}}", r"unknown key 'data\.sources\.web\.tokenizer'"),
        ("data.sources={web: {weight: 2}}", r"data\.sources\.web: data\.source=files needs data\.path"),
        ("data.sources={a/b: {path: a}}", r"data\.sources\.a/b: a name is made of letters"),
        ("data.sources.web=a", r"data\.sources\.web='a': expected a block of keys"),
        ("data.sources={web: {path: a, max_documents: 0}}", r"data\.sources\.web: data\.max_documents=0"),
    ],
)
def test_what_is_wrong_with_a_mixture_is_named(override, message):
    with pytest.raises(UserError, match=message):
        load_config(["data.source=files", override])


def test_a_source_too_small_for_a_window_is_named(texts):
    data = prepare(mixture_config(texts))
    with pytest.raises(UserError, match=r"short\.jsonl, train: .* too few for one window"):
        MixtureSampler(data, 4096, 2, seed=0)


def test_models_are_not_compared_on_a_mixture(texts):
    with pytest.raises(UserError, match=r"data\.sources: a text to compare models on is one source"):
        evaluation_text(mixture_config(texts))
