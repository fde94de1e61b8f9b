"""Preparing a corpus: what lies in the folder, when it is made again, and that nothing half-made is ever taken."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import transformers
from sample_text import make_document
from tokenizers import models, pre_tokenizers

from gatewright.data import BlockSampler, TokenizedCorpus, encoding, preparation, prepare
from gatewright.data.shards import token_dtype
from gatewright.data.splits import split_key
from gatewright.data.text_batches import in_batches
from gatewright.errors import RunError, UserError


def split_texts(data: TokenizedCorpus) -> dict[str, list[str]]:
    return {
        array.split: [data.tokenizer.decode(array.document(i)) for i in range(array.documents)]
        for array in (data.train, data.validation)
    }


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe-300"])
def test_every_document_is_on_exactly_one_side_and_reads_back(jsonl, documents, files_config, tokenizer):
    data = prepare(files_config(jsonl, tokenizer=tokenizer, validation_fraction=0.2))
    texts = split_texts(data)
    assert Counter(texts["train"] + texts["validation"]) == Counter(documents)
    assert len(texts["validation"]) == 4
    assert texts["train"] == [text for text in documents if text in texts["train"]]  # in the order of the source


def test_held_out_documents_come_in_the_order_of_the_draw(jsonl, documents, files_config):
    texts = split_texts(prepare(files_config(jsonl, validation_fraction=0.5)))["validation"]
    assert texts == sorted(texts, key=lambda text: split_key(text.encode(), seed=0))
    assert texts != [text for text in documents if text in texts]


def test_documents_are_packed_with_the_separator_after_each(jsonl, files_config):
    train = prepare(files_config(jsonl)).train
    packed = [token for i in range(train.documents) for token in (*train.document(i), 256)]
    assert train[:].tolist() == packed
    assert np.asarray(train).tolist() == packed
    assert len(train) == len(packed)
    with pytest.raises(IndexError):
        train.document(train.documents)


def test_describe_counts_the_text_itself(jsonl, documents, files_config):
    data = prepare(files_config(jsonl))
    facts = data.describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["source"] == {"name": "files", "path": str(jsonl), "subset": None}
    assert facts["division"] == {"by": "document", "max_documents": None, "validation_fraction": 0.05, "seed": 0}
    assert (facts["tokenizer"]["name"], facts["tokenizer"]["vocab_size"]) == ("byte", 257)
    both = [facts["train"], facts["validation"]]
    assert sum(split["documents"] for split in both) == 20
    assert sum(split["bytes"] for split in both) == sum(len(text.encode()) for text in documents)
    assert sum(split["words"] for split in both) == sum(len(text.split()) for text in documents)
    assert facts["train"]["tokens"] == len(data.train) == facts["train"]["bytes"] + 19


def test_only_training_text_trains_a_tokenizer(jsonl, documents, files_config):
    data = prepare(files_config(jsonl))
    held_out = split_texts(data)["validation"]
    marked = [text + "Ω" if text in held_out else text for text in documents]
    jsonl.write_text("".join(json.dumps({"text": text}) + "\n" for text in marked), encoding="utf-8")
    for seed in range(30):  # the marked text draws anew; find a seed that holds it out
        data = prepare(files_config(jsonl, tokenizer="char", split_seed=seed))
        if "Ω" in "".join(split_texts(prepare(files_config(jsonl, split_seed=seed)))["validation"]):
            break
    else:
        pytest.fail("no seed held the marked document out")
    assert "Ω" not in data.tokenizer.backend.get_vocab()
    assert "<unk>" in split_texts(data)["validation"][0]


def test_a_single_document_is_divided_by_position(tmp_path, files_config):
    path = tmp_path / "book.txt"
    text = make_document(0, words=2000)
    path.write_bytes(text.encode())
    data = prepare(files_config(path, validation_fraction=0.1))
    texts = split_texts(data)
    assert texts["train"][0] + texts["validation"][0] == text
    assert len(texts["validation"][0]) == round(0.1 * len(text))
    assert data.describe()["division"]["by"] == "position"


def test_max_documents_takes_the_first(jsonl, documents, files_config):
    texts = split_texts(prepare(files_config(jsonl, max_documents=5)))
    assert set(texts["train"] + texts["validation"]) == set(documents[:5])


def test_documents_without_text_are_left_out(tmp_path, files_config):
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in ["", "a", " \n", "b", "c"]))
    data = prepare(files_config(path))
    assert data.train.documents + data.validation.documents == 3


def test_a_second_call_reads_and_encodes_nothing(jsonl, files_config, monkeypatch):
    first = prepare(files_config(jsonl, tokenizer="bpe-300"))

    def fail(*args, **kwargs):
        raise AssertionError("prepared again")

    monkeypatch.setattr(preparation, "spool_documents", fail)
    monkeypatch.setattr(encoding, "encode_shard", fail)
    second = prepare(files_config(jsonl, tokenizer="bpe-300"))
    assert second.folder == first.folder
    assert second.describe() == first.describe()
    assert (second.train[:] == first.train[:]).all()


@pytest.mark.parametrize(
    "change",
    [
        {"tokenizer": "char"},
        {"split_seed": 1},
        {"validation_fraction": 0.3},
        {"max_documents": 19},
        {"text_field": "body"},
    ],
)
def test_whatever_decides_the_content_decides_the_folder(tmp_path, documents, files_config, change):
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": text, "body": text[::-1]}) + "\n" for text in documents))
    assert prepare(files_config(path)).folder != prepare(files_config(path, **change)).folder


def test_a_changed_file_is_prepared_anew(jsonl, files_config):
    first = prepare(files_config(jsonl))
    jsonl.write_text(jsonl.read_text() + json.dumps({"text": "one more"}) + "\n")
    second = prepare(files_config(jsonl))
    assert second.folder != first.folder
    assert second.describe()["content_sha256"] != first.describe()["content_sha256"]


def test_the_cache_is_where_it_was_asked_to_be(jsonl, tmp_path, cache, files_config):
    assert prepare(files_config(jsonl)).folder.is_relative_to(cache)
    assert prepare(files_config(jsonl, cache_dir=str(tmp_path / "mine"))).folder.is_relative_to(tmp_path / "mine")


def test_a_cache_that_cannot_be_written(jsonl, tmp_path, files_config):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"file/data: cannot be written .*; set data.cache_dir"):
        prepare(files_config(jsonl, cache_dir=str(tmp_path / "file")))


def test_after_a_full_disk_the_same_command_goes_on(jsonl, cache, files_config, monkeypatch):
    whole = encoding.encode_shard

    def fail(folder, job, *others):
        if job.split == "validation":
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(folder, job, *others)

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "encode_shard", fail)
        with pytest.raises(RunError, match=r"\.partial: the disk is full .*; the same command goes on"):
            prepare(files_config(jsonl))
    monkeypatch.setattr(preparation, "spool_documents", lambda *args: pytest.fail("read again"))
    data = prepare(files_config(jsonl))
    assert [path for path in (cache / "data").iterdir() if path.is_dir()] == [data.folder]


def test_a_source_that_changes_meanwhile_is_noticed(jsonl, cache, files_config, monkeypatch):
    spool = preparation.spool_documents

    def spool_and_write(*args, **kwargs):
        result = spool(*args, **kwargs)
        jsonl.write_text('{"text": "something"}\n{"text": "else"}\n')
        return result

    monkeypatch.setattr(preparation, "spool_documents", spool_and_write)
    with pytest.raises(RunError, match=r"documents.jsonl: changed while it was being read"):
        prepare(files_config(jsonl))
    assert not [path for path in (cache / "data").iterdir() if path.is_dir()]


def test_token_arrays_travel_to_other_processes_as_a_path(jsonl, files_config):
    train = prepare(files_config(jsonl)).train
    packed = pickle.dumps(train)
    assert len(packed) < 1000 < len(train)
    assert (pickle.loads(packed)[:] == train[:]).all()
    with pytest.raises(ValueError, match="read-only"):
        train[:][0] = 1


def test_wide_ids_for_wide_vocabularies():
    assert [token_dtype(size) for size in (257, 65535, 65536)] == ["<u2", "<u2", "<u4"]


def test_documents_are_encoded_in_batches_of_bounded_size_in_order():
    batches = list(in_batches((f"{i:>10}" for i in range(95)), characters=100))
    assert [len(batch) for batch in batches] == [10] * 9 + [5]
    assert [int(text) for batch in batches for text in batch] == list(range(95))


def test_progress_is_shown_on_standard_error_when_asked_for(jsonl, files_config, capfd, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    prepare(files_config(jsonl))
    assert capfd.readouterr() == ("", "")
    prepare(files_config(jsonl, split_seed=1), progress=True)
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "reading" in shown.err
    assert "encoding" in shown.err


def test_a_hugging_face_tokenizer_with_a_vocabulary_beyond_16_bits(tmp_path, files_config):
    words = ["<eos>", *(f"w{i}" for i in range(70_000))]
    backend = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<eos>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>").save_pretrained(
        tmp_path / "large"
    )
    path = tmp_path / "documents.jsonl"
    path.write_text("".join(json.dumps({"text": f"w69999 w3 w{i}"}) + "\n" for i in range(10)))
    data = prepare(files_config(path, tokenizer=str(tmp_path / "large")))
    assert data.describe()["tokenizer"]["name"] == data.tokenizer.name == str(tmp_path / "large")
    assert data.train.dtype == np.uint32
    assert all(data.train.document(i)[:2].tolist() == [70_000, 4] for i in range(data.train.documents))
    input_ids, _ = BlockSampler(data.train, 8, 2, seed=0).batch(0)
    assert input_ids.max() == 70_000


KILLED = """
import os, signal, sys, importlib
from gatewright.config import DataConfig
from gatewright.data import prepare

target, calls = sys.argv[2], int(sys.argv[3])
module, _, name = target.rpartition(":")
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
whole = getattr(owner, name)

def counted(*args, **kwargs):
    global calls
    calls -= 1
    if calls < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*args, **kwargs)

setattr(owner, name, counted)
prepare(DataConfig(source="files", path=sys.argv[1], tokenizer="byte"))
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
@pytest.mark.parametrize(
    ("target", "calls"),
    [
        ("gatewright.data.spool:split_key", 7),
        ("gatewright.data.tokenization.byte:ByteTokenizer.encode_batch", 1),
        ("gatewright.data.cache:sync_file", 0),
    ],
    ids=["while reading", "between the splits", "before the rename"],
)
def test_a_killed_preparation_leaves_nothing_that_looks_finished(jsonl, cache, tmp_path, files_config, target, calls):
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    killed = subprocess.run([sys.executable, script, jsonl, target, str(calls)], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    left = [path for path in (cache / "data").iterdir() if path.is_dir()]
    assert [path.suffix for path in left] == [".partial"]

    data = prepare(files_config(jsonl))
    data.verify()
    untouched = prepare(files_config(jsonl, cache_dir=str(tmp_path / "elsewhere")))
    assert data.describe() == untouched.describe()
    assert [path for path in (cache / "data").iterdir() if path.is_dir()] == [data.folder]


SLOW = """
import sys, time
from gatewright.config import DataConfig
from gatewright.data import encoding, prepare

encoded = 0
whole = encoding.encode_shard

def slow(*args, **kwargs):
    global encoded
    encoded += 1
    time.sleep(0.5)
    return whole(*args, **kwargs)

encoding.encode_shard = slow
print("ready", flush=True)
sys.stdin.readline()
data = prepare(DataConfig(source="files", path=sys.argv[1], tokenizer="byte"))
data.verify()
print(encoded, data.folder)
"""


def test_two_processes_at_the_same_time_prepare_once(jsonl, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    command = [sys.executable, script, jsonl]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(command, **pipes) for _ in range(2)]
    assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
    for process in both:
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate()[0].split() for process in both]
    assert sorted(encoded for encoded, _ in answers) == ["0", "2"]
    assert answers[0][1] == answers[1][1]
    assert Path(answers[0][1]).is_dir()
